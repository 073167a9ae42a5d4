"""Arm against reference, cell by cell, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.answers import Answers
from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS, REASONS, RUNS
from olora_bench.analysis.compared import PairedItems, paired_items
from olora_bench.analysis.comparison import Comparison, comparisons
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, rows_of
from olora_bench.analysis.looked import Looked
from olora_bench.analysis.outcome import Judgement, Verdict, corrected, effect_columns, judgement, never_found
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.pairs import CELL, PAIRS, SIDES, run_ids, runs_differ
from olora_bench.analysis.reasons import (
    Exploratory,
    NoRateChosen,
    PairsDiverged,
    PairsMissing,
    Reason,
    ScoresWarned,
    ShorterSchedule,
    TooFewSeeds,
    Uncorrected,
)
from olora_bench.analysis.runs import has_role
from olora_bench.identity import lr_text

MIN_SEEDS_FOR_VERDICT = 3
"""Fewer seeds than this cannot say how much a score moves when only the seed changes."""
EXPLORATORY_BELOW = 6
"""With fewer seeds than this an interval is shown, and marked: a t with so few stands on the normal shape of what is not seen."""

_BENCHMARK = Column("benchmark", "the benchmark; empty where no record of the cell names one", heading="benchmark")
_METRIC = Column("metric", "of the benchmark", heading="metric")
_PRIMARY = Column("primary", "whether the metric is the one that the benchmark is judged by")
_ITEMS = Column("items", "items of the benchmark", heading="items")
_CHANCE = Column("chance", "what guessing scores", "percent", "chance", "number")

DIFFERENCES = Table(
    "differences",
    "a (pair, benchmark, metric) that both sides have a score of: what every statistic of scores starts from",
    (
        *PAIRS.columns,
        _BENCHMARK,
        _METRIC,
        _PRIMARY,
        _ITEMS,
        Column("chance", "what guessing scores, as a share"),
        Column("score_reference", "score of the reference's run", "percent"),
        Column("score_arm", "score of the arm's run", "percent"),
        Column("more", "items that the arm answers correctly minus those that the reference does"),
        Column("difference", "arm minus reference: `more` over `items`", "pp"),
        Column("flips_reference", "items that get a different answer than in fp32, reference", "percent"),
        Column("flips_arm", "items that get a different answer than in fp32, arm", "percent"),
        Column("flip_items", "items that were compared with fp32"),
        Column("warnings_reference", "what the evaluation of the reference warned of"),
        Column("warnings_arm", "what the evaluation of the arm warned of"),
    ),
)

CELLS = Table(
    "cells",
    "a (comparison, cell, benchmark, metric)",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("cell_lr_reference", "the reference's learning rate in the cell; where blocks choose among finalists, the one that its "
               "search chose"),
        Column("cell_lr_arm", "the same of the arm"),
        Column("kept_reference", "the rates that blocks kept among the reference's finalists, one a complete pair, by seed, separated by "
               "spaces", optional=True),
        Column("kept_arm", "the same of the arm's", optional=True),
        _BENCHMARK,
        _METRIC,
        _PRIMARY,
        _ITEMS,
        _CHANCE,
        Column("constant", "what the same answer to every item scores at best", "percent", "constant", "number"),
        Column("base", "score of the untouched base", "percent", "base", "number"),
        Column("score_reference", "mean score of the reference over paired seeds", "percent", "reference", "number"),
        Column("score_arm", "mean score of the arm over paired seeds", "percent", "arm", "number"),
        Column("gave_reference", "how often the reference gave that same answer", "percent", "gave reference", "number"),
        Column("gave_arm", "how often the arm gave it", "percent", "gave arm", "number"),
        Column("difference", "arm minus reference", "pp", "difference", "pp"),
        Column("low", "lower end of the 95% interval over new seeds and new items; empty below 3 seeds, or where neither shows a spread",
               "pp", "low", "pp"),
        Column("high", "upper end of that interval", "pp", "high", "pp"),
        Column("block_se", "standard error of blocks: seeds, and answers that change from seed to seed; empty below 3 seeds", "pp",
               "se of blocks", "2 digits"),
        Column("item_se", "standard error that new items add; below 3 seeds that of new items for these trainings", "pp", "se of items",
               "2 digits"),
        Column("p", "of the interval's test"),
        Column("p_holm", "corrected over all cells of confirmatory comparisons, primary metrics; empty for others"),
        Column("holm_over", "how many cells p_holm is corrected over; 0 for others", heading="Holm over"),
        Column("seeds", "pairs with a score", heading="seeds"),
        Column("seeds_planned", "seeds that the study plans"),
        Column("diverged", "pairs with a diverged run"),
        Column("found", "the smallest difference that the test finds with 80% power, at Holm's strictest step; below 3 seeds, were items "
               "the only chance at work", "pp", "found from", "number"),
        Column("found_low", "lower end of what that may be, as well as the variances are known", "pp", "at least", "number"),
        Column("found_high", "upper end", "pp", "at most", "number"),
        Column("flips_reference", "items that get a different answer than in fp32, reference", "percent", "flips reference", "number"),
        Column("flips_arm", "items that get a different answer than in fp32, arm", "percent", "flips arm", "number"),
        Column("flip_items", "items that were compared with fp32"),
        Column("exploratory", "whether there are only 3 to 5 seeds"),
        Column("verdict", "better, worse, unresolved or no verdict", heading="verdict"),
        REASONS,
        RUNS,
    ),
)  # fmt: skip
_WHO = ("contrast", "role", "lr_arm", "model", "rank", "setting", "benchmark")
GRID_VIEW = View(
    "grid",
    "Every cell",
    "Every cell, primary metric: accuracy in percent, differences in percentage points; 95% interval over new seeds and new items; verdict "
    "by Holm over so many cells of the declared family, by each cell's own p outside of it (0). Found from: the smallest difference that "
    "this test finds with 80% power, and what that may be; below three seeds, were items the only chance at work. Constant: what the same "
    "answer to every item scores at best; gave: percent of items to which each side gave it. Flips: percent of items that get a different "
    "answer than in fp32, where that was measured. Learning rates of a tuned study were chosen by its criterion, and not by these scores.",
    CELLS,
    (*_WHO, "items", "chance", "constant", "base", "score_reference", "score_arm", "gave_reference", "gave_arm", "difference", "low",
     "high", "block_se", "item_se", "seeds", "found", "found_low", "found_high", "flips_reference", "flips_arm", "holm_over", "verdict",
     "reasons"),
    rows=("primary", True),
)  # fmt: skip
APPENDIX_VIEW = View(
    "appendix",
    "Other metrics",
    "The metrics that are not primary: accuracy in percent, differences in percentage points, 95% interval over new seeds and new items.",
    CELLS,
    (*_WHO, "metric", "score_reference", "score_arm", "difference", "low", "high", "seeds"),
    rows=("primary", False),
)


def seed_differences(frames: StudyFrames, pairs: pd.DataFrame) -> pd.DataFrame:
    """The differences of paired scores, seed by seed.

    Args:
        frames: the study.
        pairs: as `pairs.pairs(frames)` returns it.

    Returns:
        The table `DIFFERENCES`.
    """
    scores = frames.scores[frames.scores["train_id"].notna()]
    wanted = ["train_id", "eval_id", "benchmark", "metric", "primary", "items", "chance", "flip_items", "value", "flips", "warnings"]
    of_side = {}
    for side in SIDES:
        named = {"train_id": f"{side}_id", "eval_id": f"{side}_eval", "value": f"score_{side}"}
        of_side[side] = scores[wanted].rename(columns=named | {name: f"{name}_{side}" for name in ("flips", "warnings")})
    arm, reference = of_side["arm"], of_side["reference"].drop(columns=["primary", "items", "chance", "flip_items"])
    complete = pairs[pairs["pair"] == "complete"]
    both = complete.merge(arm, on=["arm_id", "arm_eval"]).merge(reference, on=["reference_id", "reference_eval", "benchmark", "metric"])
    counts = {side: (both[f"score_{side}"] * both["items"]).round().astype("int64") for side in SIDES}  # scores are counts over items
    both["more"] = counts["arm"] - counts["reference"]
    both["difference"] = 100 * both["more"] / both["items"]
    both[["score_arm", "score_reference", "flips_arm", "flips_reference"]] *= 100
    return DIFFERENCES.ordered(both)


def compare_cells(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame, looked: Sequence[Looked] = ()) -> pd.DataFrame:
    """Every cell of every comparison, with its verdict.

    Args:
        frames: the study.
        pairs: as `pairs.pairs(frames)` returns it.
        differences: as `seed_differences(frames, pairs)` returns it.
        looked: what its looks came to. They stop for the mean over benchmarks, so a cell pays for each of them: Bonferroni over looks.

    Returns:
        The table `CELLS`. A cell whose benchmarks no record names has one row, benchmark and metric null.
    """
    shares = {one.comparison: one.share for one in looked}
    rows = [row | {"share": shares.get(Comparison.of_row(row), 1.0)} for row in _rows(frames, pairs, differences)]
    rows = corrected([row | {"p_priced": min(row["p"] / row["share"], 1.0)} for row in rows], _in_family, "p_priced")
    family = sum(map(_in_family, rows))
    return CELLS.frame(_judged(row, family if _in_family(row) else 0) for row in rows)


def _in_family(row: Row) -> bool:
    return bool(row["confirmatory"] and row["primary"] and row["longest"])


def _judged(row: Row, holm_over: int) -> Row:
    """A row with its verdict and what could have been found: at Holm's strictest step, known only with the family."""
    estimate, lacking, share, _ = (row.pop(name) for name in ("estimate", "lacking", "share", "p_priced"))
    row |= {"holm_over": holm_over, "p_holm": row.pop("p_priced_holm")}
    found = effect_columns(row["difference"], estimate, level=LEVEL * share / max(holm_over, 1)) if row["primary"] else {}
    row |= {name: found.get(name, np.nan) for name in ("found", "found_low", "found_high")}
    if row["primary"] and estimate is not None:
        row |= {"reasons": (*row["reasons"], *never_found(row))}
    return row | dict(zip(("verdict", "reasons"), _judge(row, lacking), strict=True))


def _rows(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> Iterator[Row]:
    bases = frames.scores[frames.scores["base"].notna()].set_index(["eval_id", "benchmark", "metric"])["value"]
    known = {
        (s["benchmark"], s["metric"]): {"primary": s["primary"], "items": s["items"], "chance": 100 * s["chance"]}
        for s in rows_of(frames.scores.drop_duplicates(["benchmark", "metric"], keep="last"))
    }
    suites = _suites(frames)
    anywhere: list[tuple[Any, Any]] = list(dict.fromkeys(pair for asked in suites.values() for pair in asked)) or [(None, None)]
    known[None, None] = {"primary": True, "items": 0, "chance": np.nan}
    for cell, scored in _by_cell(frames, pairs, differences):
        base_eval = cell.pop("base_eval_id")
        for benchmark, metric in suites.get(base_eval, anywhere):  # a cell without any score is asked what the others are
            own = scored[(scored["benchmark"] == benchmark) & (scored["metric"] == metric)]
            row = cell | {"benchmark": benchmark, "metric": metric, "base": 100 * float(bases.get((base_eval, benchmark, metric), np.nan))}
            statistics = _statistics(frames, own, benchmark, metric)
            yield row | known[benchmark, metric] | statistics | {"reasons": (*_warned(own), *cell["reasons"])}


def _by_cell(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """What the rows of a (comparison, cell) share, `base_eval_id` among it, and the cell's seed differences."""
    silent = _without_benchmarks(frames)
    for comparison in comparisons(pairs):
        scored = comparison.rows_in(differences)
        for cell, group in comparison.rows_in(pairs).groupby("cell", sort=False):
            first = group.iloc[0]
            if first["base_eval_id"] is None or pd.isna(first["base_eval_id"]) or first["base_eval_id"] in silent:
                continue
            shared = comparison.columns | {name: first[name] for name in [*CELL, "base_eval_id"]}
            shared |= {f"cell_lr_{side}": _one(group[f"cell_lr_{side}"]) for side in SIDES}
            shared |= _kept(frames, group)
            shared |= {"seeds_planned": group["seed"].nunique(), "diverged": int((group["pair"] == "diverged").sum())}
            shared |= {"reasons": runs_differ(frames, group), "runs": run_ids(group)}
            yield shared, scored[scored["cell"] == cell]


def _one(values: pd.Series[Any]) -> float:
    """The learning rate that all pairs of a cell share; NaN while none is known."""
    known = values.dropna().unique()
    return float(known[0]) if len(known) else float("nan")


def _kept(frames: StudyFrames, group: pd.DataFrame) -> dict[str, str]:
    """The rates of a cell's complete pairs, where its blocks choose among finalists."""
    if not has_role(frames.runs[frames.runs["cell"].isin(group["cell"])], "finalist").any():
        return {}
    rates, complete = frames.runs.groupby("train_id")["lr"].first(), group[group["pair"] == "complete"].sort_values("seed")
    return {f"kept_{side}": " ".join(lr_text(rates[one]) for one in complete[f"{side}_id"]) for side in SIDES}


def _suites(frames: StudyFrames) -> dict[str, list[tuple[str, str]]]:
    """Which (benchmark, metric) an evaluation of a base asks, told by its own scores or by those of any run that starts from it."""
    owner = dict(zip(frames.runs["eval_id"], frames.runs["base_eval_id"], strict=True))
    suites: dict[str, dict[tuple[str, str], None]] = {}
    for eval_id, benchmark, metric in frames.scores[["eval_id", "benchmark", "metric"]].itertuples(index=False):
        suites.setdefault(owner.get(eval_id, eval_id), {})[benchmark, metric] = None
    return {eval_id: list(pairs) for eval_id, pairs in suites.items()}


def _without_benchmarks(frames: StudyFrames) -> set[str]:
    """Evaluations of bases under which runs only write answers: done, and without any score."""
    scored = set(frames.scores["eval_id"])
    done = frames.runs[frames.runs["eval_state"] == "done"]
    silent = set(done[~done["eval_id"].isin(scored)]["base_eval_id"])
    return silent - set(done[done["eval_id"].isin(scored)]["base_eval_id"])


_STATISTICS = ("constant", "score_reference", "score_arm", "gave_reference", "gave_arm", "difference", "low", "high", "p", "block_se",
               "item_se", "flips_reference", "flips_arm")  # fmt: skip


def _statistics(frames: StudyFrames, scored: pd.DataFrame, benchmark: str, metric: str) -> Row:
    """What the seeds of a cell say on one metric, `estimate` (of `outcome.effect_columns`) among it. `scored`: its seed differences."""
    seeds = len(scored)
    row: Row = dict.fromkeys(_STATISTICS, np.nan) | {"estimate": None, "lacking": ()}
    row |= {"flip_items": 0, "seeds": seeds, "exploratory": MIN_SEEDS_FOR_VERDICT <= seeds < EXPLORATORY_BELOW}
    if not seeds:
        return row
    means = ("score_reference", "score_arm", "difference", "flips_reference", "flips_arm")
    row |= {name: float(scored[name].mean()) for name in means} | {"flip_items": int(scored["flip_items"].max())}
    row |= {"difference": 100 * int(scored["more"].sum()) / int(scored["items"].sum())}
    row |= _choices(frames.answers, scored, benchmark, metric)
    items = paired_items(frames, scored)
    if not isinstance(items, PairedItems):
        return row | {"lacking": (items,)}
    if seeds < MIN_SEEDS_FOR_VERDICT:
        alone = items.new_items()
        return row | {"estimate": alone, "item_se": float(alone.item_se)}
    found = items.new_seeds_and_items()
    numbers = effect_columns(row["difference"], found, power=False)
    return row | {"estimate": found} | {name: numbers[name] for name in ("low", "high", "p", "block_se", "item_se")}


def _warned(scored: pd.DataFrame) -> tuple[Reason, ...]:
    count = int((scored["warnings_arm"] != "").sum() + (scored["warnings_reference"] != "").sum())
    return (ScoresWarned(count, 2 * len(scored)),) if count else ()


def _choices(answers: Answers, scored: pd.DataFrame, benchmark: str, metric: str) -> dict[str, float]:
    """`constant`, `gave_reference` and `gave_arm` of a cell, percent; NaN where no items are there."""
    column = "prediction_norm" if metric == "acc_norm" else "prediction"
    gave: dict[str, list[float]] = {"reference": [], "arm": []}
    constant, answer = float("nan"), None
    for row in rows_of(scored[[f"{side}_{what}" for side in SIDES for what in ("id", "eval")]]):
        for side, shares in gave.items():
            known = (answers(row[f"{side}_id"], None, row[f"{side}_eval"]) or {}).get(benchmark)
            if known is None or not known.gold:  # answers that others scored say right or wrong, and not which choice
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


def _judge(row: Row, lacking: tuple[Reason, ...]) -> Judgement:
    reasons: tuple[Reason, ...] = row["reasons"] if row["longest"] else (*row["reasons"], ShorterSchedule())
    planned, seeds = row["seeds_planned"], row["seeds"]
    if row["diverged"]:
        return Verdict.UNRESOLVED, (PairsDiverged(row["diverged"], planned), *reasons)
    if planned > seeds:
        reasons = (*reasons, PairsMissing(planned - seeds, planned))
    if row["role"] == "tuned" and (np.isnan(row["cell_lr_arm"]) or np.isnan(row["cell_lr_reference"])):
        return Verdict.NONE, (NoRateChosen(), *reasons)
    if seeds < MIN_SEEDS_FOR_VERDICT:
        return Verdict.NONE, (*reasons, TooFewSeeds(seeds, MIN_SEEDS_FOR_VERDICT))
    if lacking:
        return Verdict.NONE, (*reasons, *lacking)
    reasons += (Exploratory(seeds, EXPLORATORY_BELOW),) if row["exploratory"] else ()
    own = not _in_family(row)
    reasons += (Uncorrected(),) if own else ()
    return judgement(row["difference"], row["p" if own else "p_holm"], np.nan, reasons)
