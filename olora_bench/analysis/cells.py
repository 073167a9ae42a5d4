"""Arm against reference, cell by cell, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.frames import Answers, StudyFrames, rows_of
from olora_bench.analysis.paired import LEVEL, detectable_by_seeds, detectable_difference, holm, item_standard_error, paired_t
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids
from olora_bench.analysis.verdicts import mixed_note, mixed_runs

MIN_SEEDS_FOR_VERDICT = 3
"""Fewer seeds than this cannot say how much a score moves when only the seed changes."""
EXPLORATORY_BELOW = 6
"""With fewer seeds than this an interval is shown, and marked: a t with so few stands on the normal shape of what is not seen."""

VERDICTS = ("win", "loss", "unresolved", "no verdict")


def seed_differences(frames: StudyFrames, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a (pair, benchmark, metric) that both sides have a score of: what every statistic of scores starts from.

    Args:
        frames: the study.
        pairs: as `pairs.pairs(frames)` returns it.

    Returns:
        The columns of `pairs`, and benchmark, metric, primary, items, chance, flip_items, score_reference, score_arm (percent),
        difference (arm minus reference, percentage points), and for each side flips_<side> (percent) and warnings_<side>.
    """
    scores = frames.scores[frames.scores["train_id"].notna()]
    wanted = ["train_id", "eval_id", "benchmark", "metric", "primary", "items", "chance", "flip_items", "value", "flips", "warnings"]
    sides = {}
    for side in ("arm", "reference"):
        named = {"train_id": f"{side}_id", "eval_id": f"{side}_eval", "value": f"score_{side}"}
        sides[side] = scores[wanted].rename(columns=named | {name: f"{name}_{side}" for name in ("flips", "warnings")})
    arm, reference = sides["arm"], sides["reference"].drop(columns=["primary", "items", "chance", "flip_items"])
    complete = (
        pairs[pairs["pair"] == "complete"]
        if len(pairs)
        else pairs.reindex(columns=["arm_id", "arm_eval", "reference_id", "reference_eval"])
    )
    found = complete.merge(arm, on=["arm_id", "arm_eval"]).merge(reference, on=["reference_id", "reference_eval", "benchmark", "metric"])
    # Scores are counts over items: rounding in the last place would turn a tie into a win.
    found["difference"] = (100 * (found["score_arm"] - found["score_reference"])).round(9)
    found[["score_arm", "score_reference", "flips_arm", "flips_reference"]] *= 100
    return found


def compare_cells(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Every cell of every comparison, with its verdict.

    Args:
        frames: the study.
        pairs: as `pairs.pairs(frames)` returns it.
        differences: as `seed_differences(frames, pairs)` returns it.

    Returns:
        One row a (comparison, cell, benchmark, metric): COMPARISON and CELL columns; cell_lr_reference, cell_lr_arm; benchmark, metric,
        primary (metric), items; chance, constant (what the same answer to every item scores at best), base, score_reference,
        score_arm, gave_reference, gave_arm (how often each side gave that answer; all percent, means over paired seeds; NaN where there is
        none);
        difference, low, high (percentage points, 95% interval of a paired t over seeds; NaN below 3 seeds or where all seeds agree);
        p, p_holm (in the family of all cells of confirmatory comparisons, primary metric); seeds (pairs scored), seeds_planned,
        diverged (pairs with a diverged run); detectable (item part) and detectable_seeds (seed part) of the smallest difference found
        with 80% power, percentage points; flips_reference, flips_arm (percent of `flip_items` items whose choice differs from fp32's,
        the mean; NaN where not measured); exploratory; mixed (what the cell's runs do not share); verdict (one of VERDICTS) and note,
        which says why there is none or what to mind; runs (the train_ids behind the row). A cell whose benchmarks no record names has
        one row, benchmark and metric null.
    """
    rows = list(_rows(frames, pairs, differences))
    cells = pd.DataFrame(rows, columns=[*_COLUMNS, "warnings"])
    if cells.empty:
        return cells[_COLUMNS]
    cells["p_holm"] = np.nan
    family = cells["confirmatory"].astype(bool) & cells["primary"].astype(bool) & cells["longest"].astype(bool)
    cells.loc[family, "p_holm"] = holm(cells.loc[family, "p"].to_numpy(dtype=float))
    judged = [_verdict(row, frames.protocol) for row in rows_of(cells)]
    cells["verdict"], cells["note"] = [v for v, _ in judged], [n for _, n in judged]
    return cells[_COLUMNS]


_COLUMNS = [*COMPARISON, *CELL, "cell_lr_reference", "cell_lr_arm", "benchmark", "metric", "primary", "items", "chance", "constant",
            "base", "score_reference", "score_arm", "gave_reference", "gave_arm", "difference", "low", "high", "p", "p_holm",
            "seeds", "seeds_planned", "diverged", "detectable", "detectable_seeds", "flips_reference", "flips_arm", "flip_items",
            "exploratory", "mixed", "verdict", "note", "runs"]  # fmt: skip


def _rows(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> Iterator[dict[str, Any]]:
    keys = [*COMPARISON, *CELL]
    by_cell = {_known(k): v for k, v in differences.groupby(keys, sort=False, dropna=False)} if len(differences) else {}
    bases = frames.scores[frames.scores["base"].notna()].set_index(["eval_id", "benchmark", "metric"])["value"]
    known = {
        (s["benchmark"], s["metric"]): (s["primary"], s["items"], s["chance"])
        for s in rows_of(frames.scores.drop_duplicates(["benchmark", "metric"], keep="last"))
    }
    suites = _suites(frames)
    silent = _without_benchmarks(frames)
    anywhere: list[tuple[Any, Any]] = list(dict.fromkeys(pair for asked in suites.values() for pair in asked)) or [(None, None)]
    known[None, None] = (True, 0, np.nan)
    for key, group in pairs.groupby(keys, sort=False, dropna=False) if len(pairs) else ():
        assert isinstance(key, tuple)
        mine = by_cell.get(_known(key))
        base_eval = group["base_eval_id"].iloc[0]
        if base_eval is None or pd.isna(base_eval) or base_eval in silent:
            continue
        lrs = {f"cell_lr_{side}": _one(group[f"cell_lr_{side}"]) for side in ("reference", "arm")}
        common = dict(zip(keys, key, strict=True)) | lrs
        common |= {"seeds_planned": group["seed"].nunique(), "diverged": int((group["pair"] == "diverged").sum()), "runs": run_ids(group)}
        common |= {"mixed": mixed_runs(frames, group)}
        for benchmark, metric in suites.get(base_eval, anywhere):  # a cell without any score is asked what the others are
            found = None if mine is None else mine[(mine["benchmark"] == benchmark) & (mine["metric"] == metric)]
            primary, items, chance = known[benchmark, metric]
            row = common | {"benchmark": benchmark, "metric": metric, "primary": primary, "items": items}
            row |= {"chance": 100 * chance, "base": 100 * float(bases.get((base_eval, benchmark, metric), np.nan))}
            yield row | _statistics(frames.answers, found, benchmark, metric)


def _known(key: Any) -> tuple[Any, ...]:
    """A key in which one NaN equals another."""
    return tuple(None if part != part else part for part in key)


def _one(values: pd.Series[Any]) -> float:
    """The learning rate that all pairs of a cell share; NaN while none is known."""
    known = values.dropna().unique()
    return float(known[0]) if len(known) else float("nan")


def _suites(frames: StudyFrames) -> dict[str, list[tuple[str, str]]]:
    """Which (benchmark, metric) an evaluation of a base asks, told by its own scores or by those of any run that starts from it."""
    owner = dict(zip(frames.runs["eval_id"], frames.runs["base_eval_id"], strict=True))
    found: dict[str, dict[tuple[str, str], None]] = {}
    for eval_id, benchmark, metric in frames.scores[["eval_id", "benchmark", "metric"]].itertuples(index=False):
        found.setdefault(owner.get(eval_id, eval_id), {})[benchmark, metric] = None
    return {eval_id: list(pairs) for eval_id, pairs in found.items()}


def _without_benchmarks(frames: StudyFrames) -> set[str]:
    """Evaluations of bases under which runs only write answers: done, and without any score."""
    scored = set(frames.scores["eval_id"])
    done = frames.runs[frames.runs["eval_state"] == "done"]
    silent = set(done[~done["eval_id"].isin(scored)]["base_eval_id"])
    return silent - set(done[done["eval_id"].isin(scored)]["base_eval_id"])


def _statistics(answers: Answers, found: pd.DataFrame | None, benchmark: str, metric: str) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(_STATISTICS, np.nan)
    empty |= {"flip_items": 0, "warnings": ""}
    seeds = 0 if found is None else len(found)
    if found is None or seeds == 0:
        return {**empty, "seeds": 0, "exploratory": False}
    differences = found["difference"].to_numpy(dtype=float)
    row = empty | {
        "score_reference": float(found["score_reference"].mean()),
        "score_arm": float(found["score_arm"].mean()),
        "difference": float(differences.mean()),
        "detectable": _item_part(answers, found, benchmark, metric),
        "flips_reference": float(found["flips_reference"].mean()),
        "flips_arm": float(found["flips_arm"].mean()),
        "flip_items": int(found["flip_items"].max()),
        "warnings": _warned(found),
    }
    row |= _choices(answers, found, benchmark, metric)
    if seeds >= MIN_SEEDS_FOR_VERDICT:
        test = paired_t(differences)
        row |= {"low": float(test.low), "high": float(test.high), "p": float(test.p)}
        if np.isfinite(test.error):
            row["detectable_seeds"] = detectable_by_seeds(float(test.error), seeds)
    return row | {"seeds": seeds, "exploratory": MIN_SEEDS_FOR_VERDICT <= seeds < EXPLORATORY_BELOW}


_STATISTICS = ("constant", "score_reference", "score_arm", "gave_reference", "gave_arm", "difference", "low", "high", "p",
               "detectable", "detectable_seeds", "flips_reference", "flips_arm")  # fmt: skip


def _warned(found: pd.DataFrame) -> str:
    """How many of the scores behind a cell carry a warning of the evaluation; which one is in the table `scoring`."""
    count = int((found["warnings_arm"] != "").sum() + (found["warnings_reference"] != "").sum())
    return f"{count} of {2 * len(found)} scores carry a warning" if count else ""


def _choices(answers: Answers, found: pd.DataFrame, benchmark: str, metric: str) -> dict[str, float]:
    """`constant`, `gave_reference` and `gave_arm` of a cell, percent; NaN where no items are there."""
    column = "prediction_norm" if metric == "acc_norm" else "prediction"
    gave: dict[str, list[float]] = {"reference": [], "arm": []}
    constant, answer = float("nan"), None
    for row in rows_of(found):
        for side, shares in gave.items():
            known = (answers(row[f"{side}_id"], None, row[f"{side}_eval"]) or {}).get(benchmark)
            if known is None:
                continue
            if answer is None:  # the gold answers are the same in every run
                answer, most = max(known.gold.items(), key=lambda one: (one[1], -one[0]))
                constant = 100 * float(most) / len(known.item_id)
            shares.append(100 * (getattr(known, column).get(answer, 0) / len(known.item_id)))
    return {"constant": constant} | {f"gave_{side}": float(np.mean(shares)) if shares else np.nan for side, shares in gave.items()}


def one_answer_pays(cells: pd.DataFrame) -> pd.Series[bool]:
    """Rows of cells whose `constant` is more than 3 standard errors above chance: no luck with where gold answers lie.

    There (BoolQ's yes) a score can move by a mere leaning towards that answer.
    """
    chance = cells["chance"].astype(float)
    error = np.sqrt(chance * (100 - chance) / cells["items"].astype(float).clip(lower=1))
    return cells["constant"] > chance + 3 * error


def _item_part(answers: Answers, found: pd.DataFrame, benchmark: str, metric: str) -> float:
    """Percentage points; NaN where no item was answered differently, so that their spread cannot be told, or where items are not there."""
    sides: dict[str, list[Any]] = {"arm": [], "reference": []}
    ids: Any = None
    for row in rows_of(found):
        for side, kept in sides.items():
            known = answers(row[f"{side}_id"], None, row[f"{side}_eval"])
            if known is None or benchmark not in known:
                return float("nan")
            mine = known[benchmark]
            right = mine.right(metric)
            if ids is None:
                ids = mine.item_id
            elif ids is not mine.item_id and not ids.equals(mine.item_id):
                index = pd.Index(mine.item_id.to_pylist())
                places = index.get_indexer(ids.to_pylist()) if index.is_unique else np.array([-1])
                if (places < 0).any():
                    return float("nan")
                right = right[places]
            kept.append(right)
    error = item_standard_error(np.array(sides["arm"]), np.array(sides["reference"]))
    return 100 * detectable_difference(error) if error > 0 else float("nan")


def _verdict(row: dict[str, Any], protocol: str) -> tuple[str, str]:
    notes = [*([row["warnings"]] if row["warnings"] else []), *mixed_note(row["mixed"])]
    notes += [] if row["longest"] else ["a shorter schedule: in no headline"]
    absent = row["seeds_planned"] - row["seeds"] - row["diverged"]
    if row["diverged"]:
        return "unresolved", ", ".join([f"{row['diverged']} of {row['seeds_planned']} diverged", *notes])
    if absent:
        notes.append(f"{absent} of {row['seeds_planned']} pairs missing")
    if row["role"] == "tuned" and (np.isnan(row["cell_lr_arm"]) or np.isnan(row["cell_lr_reference"])):
        return "no verdict", ", ".join(["no learning rate chosen: a search is open or at an edge", *notes])
    if row["seeds"] < MIN_SEEDS_FOR_VERDICT:
        return "no verdict", ", ".join([*notes, f"{row['seeds']} of at least {MIN_SEEDS_FOR_VERDICT} seeds"])
    if np.isnan(row["p"]):
        return "unresolved", ", ".join([*notes, "every seed gave the same difference"])
    if row["exploratory"]:
        notes.append("exploratory: fewer than 6 seeds")
    p = row["p_holm"] if not np.isnan(row["p_holm"]) else row["p"]
    if np.isnan(row["p_holm"]):
        notes.append("outside the declared family: p as it is")
    return "unresolved" if p > LEVEL else "win" if row["difference"] > 0 else "loss", ", ".join(notes)
