"""Learning rates: what each arm's search saw, where its best lies, how much being off costs, and which arms differ in the ratio of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.frames import UNSCORED, StudyFrames, rows_of, training_cell
from olora_bench.analysis.paired import Floats

NEAR_BEST = 0.05
"""A learning rate is good where it keeps all but this share of what the best one takes off the loss."""


_CELL = ["cell", "model", "rank", "setting", "longest", "arm"]


def trained_alike(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of a study, those that are not scored put into the cell of the same training that is.

    A search's runs ask no benchmark; the runs that report what it chose do. For learning rates they are one cell.
    """
    training, unscored = runs["cell"].map(training_cell), runs["cell"].str.endswith(f"-{UNSCORED}")
    names = ["cell", "setting", "longest"]
    scored = runs[~unscored].groupby(training[~unscored])[names].first()
    moved = unscored & training.isin(scored.index)
    return runs.assign(**{name: runs[name].mask(moved, training.map(scored[name])).astype(runs[name].dtype) for name in names})


def learning_rates(frames: StudyFrames, measures: pd.DataFrame) -> pd.DataFrame:
    """One row a (cell, arm, lr): the runs at it, whatever they were for.

    Args:
        frames: the study.
        measures: as `losses.run_measures(frames)` returns it.

    Returns:
        cell, model, rank, setting, longest, arm, lr, stage (of a search, else "grid"); criterion (the study's; tune_loss without
        a search), tune (the criterion as a loss, mean over runs; NaN where a run diverged or none is done), report_loss (nats, mean),
        score (macro-average of the primary metrics, percent, mean; NaN without a suite), spikes (of the train loss, a run; mean over
        finished runs), n_runs, diverged, failed, best (of the search, or the lowest `tune` where there is none), searched (it was a point
        of a search), edge ("low", "high" or null: the best is the last one tried on that side), runs.
    """
    runs = trained_alike(frames.runs)
    criterion = (frames.tuning or {}).get("criterion", "tune_loss")
    sign = 1.0 if criterion == "tune_loss" else -1.0
    scores = frames.scores[frames.scores["primary"] & frames.scores["train_id"].notna()]
    macro = scores.groupby("train_id")["value"].mean() * 100
    spikes = measures[measures["state"] == "done"].drop_duplicates("train_id").set_index("train_id")["spikes"]
    ids = runs["train_id"]
    runs = runs.assign(tune=sign * runs[f"metrics.{criterion}"], score=ids.map(macro), spikes=ids.map(spikes))
    searched = {(one["cell"], one["arm"]): one for one in rows_of(frames.searches)}
    rows: list[dict[str, Any]] = []
    for key, group in runs.groupby(_CELL, sort=False):
        assert isinstance(key, tuple)
        points = []
        for lr, at in group.groupby("lr", sort=True):
            tuning = at[at["roles"].str.contains("tuning")]
            judged = tuning if len(tuning) else at
            whole = bool((judged["state"] == "done").all())
            points.append(
                dict(zip(_CELL, key, strict=True))
                | {"lr": lr, "stage": judged["stage"].iloc[0], "criterion": criterion}
                | {"tune": float(judged["tune"].mean()) if whole else np.nan, "searched": len(tuning) > 0}
                | {name: float(at[column].mean()) for name, column in _MEANS}
                | {"n_runs": len(at)}
                | {"diverged": int((at["state"] == "diverged").sum()), "failed": int((at["state"] == "failed").sum())}
                | {"runs": " ".join(sorted(at["train_id"]))}
            )
        rows += _with_best(points, searched.get((training_cell(str(key[0])), str(key[-1]))))
    names = ["lr", "stage", "criterion", "tune", "report_loss", "score", "spikes", "n_runs", "diverged", "failed", "best", "edge",
             "searched", "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*_CELL, *names])


_MEANS = (("report_loss", "metrics.report_loss"), ("score", "score"), ("spikes", "spikes"))


def _with_best(points: list[dict[str, Any]], search: dict[str, Any] | None) -> list[dict[str, Any]]:
    if search is not None:  # what the study itself went by
        return [p | {"best": p["lr"] == search["best"], "edge": search["edge"] if p["lr"] == search["best"] else None} for p in points]
    known = [p for p in points if np.isfinite(p["tune"])]
    best = min(known, key=lambda p: (p["tune"], p["lr"]))["lr"] if known else None
    tried = [p["lr"] for p in points if np.isfinite(p["tune"]) or p["diverged"]]
    edge = None
    if best is not None and len(tried) > 1:
        edge = "low" if best == min(tried) else "high" if best == max(tried) else None
    return [p | {"best": p["lr"] == best, "edge": edge if p["lr"] == best else None} for p in points]


def sensitivity(rates: pd.DataFrame, frames: StudyFrames) -> pd.DataFrame:
    """One row a (cell, arm) that was run at two learning rates or more: what was spent on them, and how flat the loss is around the best.

    Between learning rates the loss is interpolated in log lr; beyond those tried, or towards one that diverged, nothing is said.

    Returns:
        cell, model, rank, setting, longest, arm, criterion; tuning_runs (the budget: runs that chose), points (learning rates), best_lr,
        best_loss (the criterion as a loss), edge; off_low, off_high: loss lost with a third of, and three times, the best lr (NaN where not
        bracketed); good_low, good_high: the region that keeps 95% of the drop from the untouched base, good_width (high over low, a
        factor), good_open (whether it reaches the last lr tried on a side, so that it may be wider); note; runs. Losses and regions are
        NaN where fewer than three learning rates have a loss.
    """
    runs = trained_alike(frames.runs)
    rows: list[dict[str, Any]] = []
    for key, group in rates.groupby([*_CELL, "criterion"], sort=False) if len(rates) else ():
        judged = group[group["searched"]] if group["searched"].any() else group
        if len(judged) < 2:
            continue
        named = dict(zip([*_CELL, "criterion"], key, strict=True))
        mine = runs[(runs["cell"] == named["cell"]) & (runs["arm"] == named["arm"])]
        sign = 1.0 if named["criterion"] == "tune_loss" else -1.0
        base = float(sign * runs[runs["cell"] == named["cell"]][f"metrics.{named['criterion']}_start"].mean())
        at_best = group[group["best"]]
        edge = at_best["edge"].iloc[0] if len(at_best) else None
        row = named | dict.fromkeys(_REGION, np.nan) | {"good_open": False, "edge": edge, "points": len(judged)}
        row |= {"best_lr": at_best["lr"].iloc[0], "best_loss": at_best["tune"].iloc[0]} if len(at_best) else {}
        row |= {"tuning_runs": int(mine["roles"].str.contains("tuning").sum()) or len(mine), "runs": _ids(judged)}
        known = judged[judged["tune"].notna()].sort_values("lr")
        lr, loss = known["lr"].to_numpy(dtype=float), known["tune"].to_numpy(dtype=float)
        if len(known) >= MIN_POINTS:
            row |= _flatness(lr, loss, base)
        rows.append(row | {"note": _note(edge, judged, len(known))})
    names = ["criterion", "tuning_runs", "points", "best_lr", "best_loss", "edge", "off_low", "off_high", "good_low", "good_high",
             "good_width", "good_open", "note", "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*_CELL, *names])


MIN_POINTS = 3
_REGION = ("best_lr", "best_loss", "off_low", "off_high", "good_low", "good_high", "good_width")


def _flatness(lr: Floats, loss: Floats, base: float) -> dict[str, Any]:
    best = int(np.argmin(loss))
    low, high, is_open = good_region(lr, loss, loss[best] + NEAR_BEST * (base - loss[best]))
    off = {name: loss_at(lr, loss, at) - loss[best] for name, at in (("off_low", lr[best] / 3), ("off_high", lr[best] * 3))}
    region = {"good_low": low, "good_high": high, "good_width": high / low, "good_open": is_open}
    return {"best_lr": lr[best], "best_loss": loss[best], **off, **region}


def _note(edge: str | None, judged: pd.DataFrame, known: int) -> str:
    notes = [] if pd.isna(edge) else [f"best at the {'lowest' if edge == 'low' else 'highest'} tried: no tuned verdict"]
    died = judged[judged["diverged"] > 0]
    notes += [f"diverged at {', '.join(f'{lr:.3g}' for lr in died['lr'])}"] if len(died) else []
    notes += [f"{known} of at least {MIN_POINTS} learning rates with a loss"] if known < MIN_POINTS else []
    return ", ".join(notes)


def _ids(rates: pd.DataFrame) -> str:
    return " ".join(sorted({run for runs in rates["runs"] for run in runs.split()}))


def loss_at(lr: Floats, loss: Floats, at: float) -> float:
    """The loss at a learning rate between those tried, linear in log lr; NaN outside of them.

    >>> loss_at(np.array([1e-4, 1e-2]), np.array([1.0, 3.0]), 1e-3)
    2.0
    """
    value = np.interp(np.log(at), np.log(lr), loss, left=np.nan, right=np.nan)
    return float(np.round(value, 12))


def good_region(lr: Floats, loss: Floats, limit: float) -> tuple[float, float, bool]:
    """The range of learning rates around the best whose interpolated loss is at most `limit`, and whether it ends at the last one tried.

    >>> low, high, is_open = good_region(np.array([1e-4, 1e-3, 1e-2]), np.array([3.0, 1.0, 3.0]), 2.0)
    >>> f"{low:.3g} {high:.3g} {is_open}"
    '0.000316 0.00316 False'
    """
    best, logs = int(np.argmin(loss)), np.log(lr)
    edges = []
    is_open = False
    for step in (-1, 1):
        here = best
        while 0 <= here + step < len(lr) and loss[here + step] <= limit:
            here += step
        beyond = here + step
        if not 0 <= beyond < len(lr):
            is_open = True
            edges.append(logs[here])
        else:
            share = (limit - loss[here]) / (loss[beyond] - loss[here])
            edges.append(logs[here] + share * (logs[beyond] - logs[here]))
    return float(np.exp(edges[0])), float(np.exp(edges[1])), is_open


def ratio_points(frames: StudyFrames, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table by arm (`rates`, `ratios`) whose arm has a ratio other than 1, or is the reference of such an arm with ratio 1.

    Args:
        frames: the study; its contrasts say which reference an arm belongs to.
        table: any frame with a column `arm`.

    Returns:
        The table's columns, `lr_ratio`, and `family`, the name of that reference.
    """
    told = frames.runs[["arm", "lr_ratio"]].dropna().drop_duplicates("arm")
    ratio = dict(zip(told["arm"], told["lr_ratio"], strict=True))
    family: dict[str, str] = {}
    for contrast in frames.contrasts:
        if ratio.get(contrast["arm"], 1.0) != 1.0 and ratio.get(contrast["reference"]) == 1.0:
            family |= {contrast["arm"]: contrast["reference"], contrast["reference"]: contrast["reference"]}
    mine = table[table["arm"].isin(family)]
    return mine.assign(lr_ratio=mine["arm"].map(ratio).astype(float), family=mine["arm"].map(family))
