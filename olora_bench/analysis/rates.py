"""Learning rates: what each arm's search saw, where its best lies, how much being off costs, and which arms differ in the ratio of two."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.columns import ARM, CELL_COLUMNS, REASONS, RUNS, SETTING_COLUMNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, groups_of, rows_of, training_cell
from olora_bench.analysis.paired import Floats
from olora_bench.analysis.reasons import AtEdge, DivergedAt, Reason, TooFewRates
from olora_bench.analysis.runs import has_role

NEAR_BEST = 0.05
"""A learning rate is good where it keeps all but this share of what the best one takes off the loss."""

MIN_POINTS = 3
"""A curve through fewer losses says nothing of the rates between."""

_CELL = ["cell", "model", "rank", "setting", "longest", "arm"]
_CRITERION = Column("criterion", "what the study's search goes by; tune_loss without a search", heading="criterion")
_EDGE = Column("edge", "low or high: the best is the last one tried on that side", heading="edge")

RATES = Table(
    "rates",
    "a (cell, arm, lr): the runs at that learning rate, whatever they were for",
    (
        CELL_COLUMNS[0],
        *SETTING_COLUMNS,
        ARM,
        Column("lr", "learning rate (of A, where the arm has a ratio)", heading="lr", form="rate"),
        Column("stage", "of the search; grid without one", heading="stage"),
        _CRITERION,
        Column("tune", "the criterion as a loss, mean over runs, the search's alone where there was one; empty where one of "
               "them diverged or none is done", "nats", "criterion value", "3 digits"),
        Column("report_loss", "held-out loss, mean over runs", "nats", "held-out loss", "3 digits"),
        Column("score", "mean over benchmarks of the primary metric; empty without a suite", "percent", "score", "number"),
        Column("spikes", "spikes of the train loss a finished run, mean", "steps", "spikes a run", "number"),
        Column("n_runs", "runs that ended, diverged ones too", heading="runs"),
        Column("diverged", "runs that diverged", heading="diverged"),
        Column("failed", "runs that failed", heading="failed"),
        Column("best", "the search's best, or the lowest criterion where there is no search", heading="best"),
        _EDGE,
        Column("searched", "whether it was a point of a search"),
        *(Column(f"n_{name}", f"runs that `{name}` is the mean of") for name in ("tune", "report_loss", "score")),
        RUNS,
    ),
)  # fmt: skip
RATE_VIEW = View(
    "learning_rates",
    "Learning rates",
    "Every learning rate tried: the tuning criterion (as a loss; of the search's runs alone, where there was one), held-out loss (nats) "
    "and score (macro-average, percent), of those runs that have one.",
    RATES,
)
SENSITIVITY = Table(
    "sensitivity",
    "a (cell, arm) with two learning rates or more: what was spent on them, and how flat the loss is around the best. Between rates the "
    f"loss is interpolated in log lr; losses and regions are empty where fewer than {MIN_POINTS} rates have a loss",
    (
        CELL_COLUMNS[0],
        *SETTING_COLUMNS,
        ARM,
        _CRITERION,
        Column("tuning_runs", "runs that chose the learning rate", heading="tuning runs"),
        Column("points", "learning rates", heading="points"),
        Column("best_lr", "the best learning rate", heading="best lr", form="rate"),
        Column("best_loss", "the criterion as a loss there", "nats", "loss", "3 digits"),
        _EDGE,
        Column("off_low", "loss lost at a third of the best rate; empty where that is not bracketed", "nats", "at lr/3", "3 digits signed"),
        Column("off_high", "loss lost at three times the best rate", "nats", "at 3 lr", "3 digits signed"),
        Column("good_low", "from here on 95% of the drop in loss is kept", heading="good from", form="rate"),
        Column("good_high", "up to here", heading="good to", form="rate"),
        Column("good_width", "good_high over good_low", "factor", "width", "times"),
        Column("good_open", "whether that region reaches the last rate tried on a side, so that it may be wider", heading="open"),
        REASONS,
        RUNS,
    ),
)
SENSITIVITY_VIEW = View(
    "sensitivity",
    "Learning-rate sensitivity",
    "Learning-rate sensitivity: loss lost at a third of and three times the best lr, and the region that keeps 95% of the drop in "
    "loss. Tuning runs: what the search cost, equal for all arms but for edges and refinements.",
    SENSITIVITY,
)


def trained_alike(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of a study, those that are not scored put into the cell of the same training that is.

    A search's runs ask no benchmark; the runs that report what it chose do. For learning rates they are one cell.
    """
    training, unscored = runs["cell"].map(training_cell), runs["base_eval_id"].isna()
    names = ["cell", "setting", "longest"]
    scored = runs[~unscored].groupby(training[~unscored])[names].first()
    moved = unscored & training.isin(scored.index)
    return runs.assign(**{name: runs[name].mask(moved, training.map(scored[name])).astype(runs[name].dtype) for name in names})


def learning_rates(frames: StudyFrames, measures: pd.DataFrame) -> pd.DataFrame:
    """What each arm's runs came to at each learning rate: `RATES`.

    Args:
        frames: the study.
        measures: as `losses.run_measures(frames)` returns it.
    """
    runs = trained_alike(frames.runs)
    criterion = criterion_of(frames)
    scores = frames.scores[frames.scores["primary"] & frames.scores["train_id"].notna()]
    macro = scores.groupby("train_id")["value"].mean() * 100
    spikes = measures[measures["state"] == "done"].drop_duplicates("train_id").set_index("train_id")["spikes"]
    ids = runs["train_id"]
    runs = runs.assign(tune=as_loss(runs, criterion), score=ids.map(macro), spikes=ids.map(spikes), tuning=has_role(runs, "tuning"))
    searches = {(one["cell"], one["arm"]): one for one in rows_of(frames.searches)}
    rows: list[Row] = []
    for named, group in groups_of(runs.assign(criterion=criterion), [*_CELL, "criterion"]):
        by_search = bool(group["tuning"].any())
        points = [named | {"lr": lr} | _point(at, by_search=by_search) for lr, at in group.groupby("lr", sort=True)]
        rows += _with_best(points, searches.get((training_cell(named["cell"]), named["arm"])))
    return RATES.frame(rows)


def criterion_of(frames: StudyFrames) -> str:
    """The criterion of the study's search: `tune_loss` (lower is better; also without a search) or `tune_gold_logprob` (higher)."""
    return "tune_loss" if frames.tuning is None else frames.tuning.criterion


def as_loss(runs: pd.DataFrame, criterion: str, when: str = "") -> pd.Series[float]:
    """What runs are chosen by, as a loss; `when` is `_start` for that of the untouched model."""
    sign = 1.0 if criterion == "tune_loss" else -1.0
    return sign * runs[f"metrics.{criterion}{when}"]


_MEANS = (("report_loss", "metrics.report_loss"), ("score", "score"), ("spikes", "spikes"))


def _point(at: pd.DataFrame, *, by_search: bool) -> Row:
    """The runs at one learning rate; where there was a search, its runs say what the criterion is: others may have other tune parts."""
    judged = at[at["tuning"]] if by_search else at
    complete = bool((judged["state"] == "done").all())
    over = at[at["state"].isin(["done", "diverged"])]
    return {
        "stage": (at if judged.empty else judged)["stage"].iloc[0],
        "tune": float(judged["tune"].mean()) if complete else np.nan,
        "searched": bool(at["tuning"].any()),
        **{name: float(at[column].mean()) for name, column in _MEANS},
        "n_runs": len(over),
        "n_tune": len(judged),
        **{f"n_{name}": int(at[column].notna().sum()) for name, column in _MEANS if name != "spikes"},
        **{state: int((at["state"] == state).sum()) for state in ("diverged", "failed")},
        "runs": " ".join(sorted(over["train_id"])),
    }


def _with_best(points: list[Row], search: Row | None) -> list[Row]:
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
    """What each arm's search cost, and how flat the loss is around its best: `SENSITIVITY`."""
    runs = trained_alike(frames.runs)
    criterion = criterion_of(frames)
    bases = as_loss(runs, criterion, "_start").groupby(runs["cell"]).mean()
    rows: list[Row] = []
    for named, group in groups_of(rates, [*_CELL, "criterion"]):
        judged = group[group["searched"]] if group["searched"].any() else group
        if len(judged) < 2:
            continue
        ours = runs[(runs["cell"] == named["cell"]) & (runs["arm"] == named["arm"])]
        budget = {"tuning_runs": int(has_role(ours, "tuning").sum()) or len(ours), "points": len(judged), "runs": _ids(judged)}
        row = named | budget | dict.fromkeys(_REGION, np.nan) | {"good_open": False, "edge": None}
        for best in rows_of(group[group["best"]])[:1]:
            row |= {"best_lr": best["lr"], "best_loss": best["tune"], "edge": best["edge"]}
        known = judged[judged["tune"].notna()].sort_values("lr")
        if len(known) >= MIN_POINTS:
            lr, loss = known["lr"].to_numpy(dtype=float), known["tune"].to_numpy(dtype=float)
            row |= _flatness(lr, loss, float(bases[named["cell"]]))
        rows.append(row | {"reasons": _reasons(row["edge"], judged, len(known))})
    return SENSITIVITY.frame(rows)


_REGION = ("best_lr", "best_loss", "off_low", "off_high", "good_low", "good_high", "good_width")


def _flatness(lr: Floats, loss: Floats, base: float) -> Row:
    best = int(np.argmin(loss))
    drop = base - loss[best]  # where nothing was learned there is nothing to keep 95% of
    low, high, is_open = (np.nan, np.nan, False) if drop <= 0 else good_region(lr, loss, loss[best] + NEAR_BEST * drop)
    off = {name: loss_at(lr, loss, at) - loss[best] for name, at in (("off_low", lr[best] / 3), ("off_high", lr[best] * 3))}
    region = {"good_low": low, "good_high": high, "good_width": high / low, "good_open": is_open}
    return {"best_lr": lr[best], "best_loss": loss[best], **off, **region}


def _reasons(edge: str | None, judged: pd.DataFrame, known: int) -> tuple[Reason, ...]:
    reasons: list[Reason] = [] if edge is None or pd.isna(edge) else [AtEdge(edge)]
    diverged = judged[judged["diverged"] > 0]["lr"]
    reasons += [DivergedAt(tuple(diverged))] if len(diverged) else []
    reasons += [TooFewRates(known, MIN_POINTS)] if known < MIN_POINTS else []
    return tuple(reasons)


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
    """The rows of a table by arm (`rates`, `ratios`) whose arm has a ratio other than 1, or is a reference of such an arm that starts as it
    does and has ratio 1: the two are apart in their ratio alone.

    Args:
        frames: the study; its contrasts say which references an arm has. Of several that it may belong to the first counts.
        table: any frame with a column `arm`.

    Returns:
        The table's columns, `lr_ratio`, and `family`, the name of that reference.
    """
    known = frames.runs[["arm", "lr_ratio", "start"]].dropna().drop_duplicates("arm")
    ratio, start = (dict(zip(known["arm"], known[name], strict=True)) for name in ("lr_ratio", "start"))
    family: dict[str, str] = {}
    for arm, reference in ((contrast.arm, contrast.reference) for contrast in frames.contrasts):
        is_ratio_of = ratio.get(arm, 1.0) != 1.0 and ratio.get(reference) == 1.0 and start[arm] == start[reference]
        if is_ratio_of and arm not in family:
            family |= {arm: reference, reference: reference}
    rows = table[table["arm"].isin(family)]
    return rows.assign(lr_ratio=rows["arm"].map(ratio).astype(float), family=rows["arm"].map(family))
