"""The answer of a study: one verdict a comparison, and apart from it the paper-style count with its null band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from olora_bench.analysis.columns import COMPARISON_COLUMNS, REASONS, RUNS
from olora_bench.analysis.comparison import Comparison, comparisons
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import StudyFrames, training_cell
from olora_bench.analysis.outcome import Judgement, Verdict, corrected
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, Floats, blocks_needed, detectable_of, flip_sets, sign_flip
from olora_bench.analysis.pairs import cells_of_both, run_ids, runs_differ
from olora_bench.analysis.reasons import (
    ArmsAbsent,
    JudgedByLoss,
    PairsDiverged,
    PairsMissing,
    Reason,
    SearchesOpen,
    TooFewBlocks,
    Undecidable,
)

BLOCK = ["model", "seed"]
"""Runs of one model and one seed share data order and base: they are exchanged as a whole."""

COUNT_FLIPS_EXACT = 14
COUNT_FLIPS = 9_999
_AT_ONCE = 1024

_OF = "of what it is judged by"
_BLOCKS_FOR = Column("blocks_for", "blocks in which the arm is better", heading="for the arm")
_BLOCKS_AGAINST = Column("blocks_against", "blocks in which the reference is better")
_BLOCKS = Column("blocks", "blocks (model, seed) with a score", heading="blocks")
_SCORE = (
    Column("difference", "mean over benchmarks, arm minus reference", "pp", "difference", "pp"),
    Column("low", "lower end of its 95% interval, by sign flips of whole blocks; empty below six blocks", "pp", "low", "pp"),
    Column("high", "upper end of that interval", "pp", "high", "pp"),
)

VERDICTS = Table(
    "verdicts",
    "a comparison",
    (
        *COMPARISON_COLUMNS,
        Column("verdict", "better, worse, unresolved, not enough runs, or no verdict (a learning-rate search chose nothing)",
               heading="verdict"),
        Column("judged_by", "score; report_loss, where no benchmark is asked; nothing, where there is no pair of runs"),
        _BLOCKS,
        *_SCORE,
        Column("detectable", "the smallest difference that so many blocks find with 80% power", "pp", "detectable", "number"),
        Column("p", f"of the sign-flip test over blocks, {_OF}", heading="p", form="probability"),
        Column("p_holm", "corrected over the study's confirmatory comparisons; empty for others", heading="p (Holm)", form="probability"),
        Column("blocks_for", f"blocks in which the arm is better, {_OF}"),
        Column("blocks_against", f"blocks in which the reference is better, {_OF}"),
        Column("loss_blocks", "blocks with a held-out loss"),
        Column("loss_difference", "mean difference of the final held-out loss, arm minus reference", "nats", "loss", "3 digits signed"),
        Column("loss_low", "lower end of its 95% interval, by sign flips of whole blocks", "nats", "loss low", "3 digits signed"),
        Column("loss_high", "upper end of that interval", "nats", "loss high", "3 digits signed"),
        Column("loss_detectable", "the smallest difference in loss that so many blocks find with 80% power", "nats"),
        Column("loss_p", "of the sign-flip test on the loss", heading="loss p", form="probability"),
        Column("models", "models among its pairs"),
        Column("pairs_planned", "pairs of runs that the study plans"),
        Column("pairs_missing", "of these, not there or without a score"),
        Column("diverged", "of these, with a diverged run"),
        Column("open_searches", "learning-rate searches of the two arms that chose nothing"),
        REASONS,
        RUNS,
    ),
)  # fmt: skip
_SHOWN = (
    "contrast",
    "role",
    "lr_arm",
    "blocks",
    "difference",
    "low",
    "high",
    "detectable",
    "loss_difference",
    "loss_low",
    "loss_high",
    "loss_p",
)
VERDICTS_VIEW = View(
    "verdicts",
    "Verdicts",
    "Confirmatory verdict of each declared comparison: macro-average over benchmarks, percentage points; exact sign-flip test over blocks "
    "(model, seed), its inverted 95% interval, Holm over the primary contrasts. Detectable: found with 80% power. Beside it, the same of "
    "the held-out loss (nats per token, lower is better), which is judged where no benchmark is asked.",
    VERDICTS,
    (*_SHOWN, "p_holm", "verdict", "reasons"),
    rows=("confirmatory", True),
)
CONTROLS_VIEW = View(
    "controls",
    "Secondary contrasts",
    "Contrasts beside the verdict, controls among them: macro-average difference in percentage points and held-out loss in nats, "
    "sign-flip test over blocks; p as it is.",
    VERDICTS,
    (*_SHOWN, "p", "verdict", "reasons"),
    rows=("confirmatory", False),
)

LEFT_OUT = Table(
    "left_out",
    "a (comparison, benchmark) where several benchmarks are scored",
    (
        *COMPARISON_COLUMNS,
        Column("benchmark", "the one that is left out of the mean over benchmarks", heading="without"),
        _BLOCKS,
        _BLOCKS_FOR,
        _BLOCKS_AGAINST,
        *_SCORE,
        Column("p", "of the sign-flip test over blocks, uncorrected: it describes, and decides nothing", heading="p", form="probability"),
        RUNS,
    ),
)
LEFT_OUT_VIEW = View(
    "left_out",
    "Without each benchmark",
    "The macro-average without each benchmark in turn, percentage points: whether one of them carries the verdict. Exact sign-flip test "
    "over blocks, p as it is.",
    LEFT_OUT,
)

WIN_COUNTS = Table(
    "win_counts",
    "a comparison with a score",
    (
        *COMPARISON_COLUMNS,
        Column("cells", "(model, rank, setting, benchmark) with a score", heading="cells"),
        Column("wins", "cells in which the arm's mean is higher", heading="wins"),
        Column("losses", "cells in which the reference's mean is higher", heading="losses"),
        Column("ties", "cells in which the means are the same", heading="ties"),
        Column("tied", "the names of tied cells"),
        Column("blocks", "blocks (model, seed)"),
        Column("null_low", "lower end of the central 95% of wins when whole blocks change sign", heading="null from"),
        Column("null_high", "upper end of that band", heading="null to"),
        Column("p", "two-sided, of wins minus losses in that null", heading="p", form="probability"),
        Column("p_coins", "what a sign test over cells would claim, were they independent", heading="p coins", form="probability"),
        RUNS,
    ),
)
WIN_COUNTS_VIEW = View(
    "win_counts",
    "Paper-style counts",
    "Paper-style count: higher mean wins a cell. Null band: the central 95% of wins when whole blocks (model, seed) change sign. "
    "p coins: a sign test that took cells for independent, shown for contrast only.",
    WIN_COUNTS,
)


def block_differences(differences: pd.DataFrame) -> pd.Series[float]:
    """The macro-average over benchmarks of each block, in percentage points; index BLOCK.

    A benchmark counts the same however many ranks and settings a block has: first the mean over benchmarks of each pair of runs, then
    over the block's pairs. Primary metrics only.
    """
    runs = primary(differences).groupby([*BLOCK, "cell", "arm_id", "reference_id"], sort=True)["difference"].mean()
    return runs.groupby(level=BLOCK, sort=True).mean()


def block_losses(frames: StudyFrames, pairs: pd.DataFrame) -> pd.Series[float]:
    """The mean difference of the final held-out loss of each block, in nats per supervised token; index BLOCK; complete pairs only."""
    losses = frames.runs.drop_duplicates("train_id").set_index("train_id")["metrics.report_loss"]
    complete = pairs[pairs["pair"] == "complete"]
    difference = (complete["arm_id"].map(losses) - complete["reference_id"].map(losses)).astype(float)
    return difference.groupby([complete[name] for name in BLOCK], sort=True).mean().dropna()


def confirmatory(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One verdict a comparison: the macro-average over benchmarks, tested by flipping whole blocks (model, seed).

    Where a comparison's runs are asked no benchmark, their held-out loss is tested in the same way, and lower is better.

    Args:
        frames, pairs, differences: the study, its pairs and its seed differences.
        rng: used only where there are too many blocks to list all flips.

    Returns:
        The table `VERDICTS`. Declared primary contrasts that no pair of runs answers yet stand first.
    """
    pairs, differences = longest(pairs), longest(differences)
    compared = comparisons(pairs)
    compared = [*_without_pairs(frames, compared), *compared]
    rows = [_row(frames, one, one.rows_in(pairs), one.rows_in(differences), rng) for one in compared]
    rows = corrected(rows, lambda row: row["confirmatory"])
    hopeless = _hopeless([row for row in rows if row["confirmatory"]])
    return VERDICTS.frame([row | dict(zip(("verdict", "reasons"), _judge(frames, row, hopeless), strict=True)) for row in rows])


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of cells that no cell of their family outlasts: those that enter a verdict."""
    return table[table["longest"].astype(bool)]


def _row(
    frames: StudyFrames, comparison: Comparison, group: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator
) -> dict[str, Any]:
    blocks, losses = block_differences(differences), block_losses(frames, group)
    by_loss = _asked_no_benchmark(frames, group)
    unscored = 0 if by_loss else int((group["pair"] == "complete").sum()) - len(differences[["arm_id", "reference_id"]].drop_duplicates())
    better = -losses if by_loss else blocks
    judged_by = "nothing" if group.empty else "report_loss" if by_loss else "score"
    row = comparison.columns | {"judged_by": judged_by, "blocks": len(blocks), "loss_blocks": len(losses)}
    row |= _effect(blocks, rng) | {f"loss_{name}": value for name, value in _effect(losses, rng).items()}
    row |= {"p": row["loss_p"]} if by_loss else {}
    row |= {"blocks_for": int((better > 0).sum()), "blocks_against": int((better < 0).sum()), "models": group["model"].nunique()}
    row |= {"pairs_planned": len(group), "pairs_missing": int((group["pair"] == "incomplete").sum()) + unscored}
    row |= {"diverged": int((group["pair"] == "diverged").sum()), "open_searches": _open_searches(frames, comparison)}
    return row | {"reasons": runs_differ(frames, group), "runs": run_ids(group)}


def _effect(blocks: pd.Series[float], rng: np.random.Generator) -> dict[str, float]:
    """The mean of block differences, its interval, p and what could have been found; NaN where that needs more blocks."""
    values = np.asarray(blocks, dtype=np.float64)
    row = {"difference": float(values.mean()) if len(values) else np.nan, "detectable": detectable_of(values)}
    if len(values) < MIN_BLOCKS:
        return row | dict.fromkeys(("low", "high", "p"), np.nan)
    test = sign_flip(values, rng)
    return row | {"low": float(test.low), "high": float(test.high), "p": float(test.p)}


def _without_pairs(frames: StudyFrames, compared: list[Comparison]) -> list[Comparison]:
    """Declared primary contrasts that no pair of runs answers yet."""
    role = "tuned" if frames.protocol == "tuned" else "shared"
    there = {one.contrast for one in compared if one.role == role}
    primary = [c for c in frames.contrasts if c.kind == "primary"]
    declared = [Comparison(c.arm, c.reference, c.kind, role, confirmatory=True, lr=None) for c in primary]
    return [one for one in declared if one.contrast not in there]


def _hopeless(family: list[dict[str, Any]]) -> tuple[Reason, ...]:
    """Why none of the primary comparisons can be decided, however their blocks turn out; empty where one can. One that is decided makes it
    easier for the others, so the comparison with the most blocks is asked."""
    most = max((row["blocks"] if row["judged_by"] == "score" else row["loss_blocks"] for row in family), default=0)
    needed = blocks_needed(max(1, len(family)))
    return (Undecidable(most, len(family), needed),) if family and most < needed else ()


def _asked_no_benchmark(frames: StudyFrames, group: pd.DataFrame) -> bool:
    """Whether the runs are asked no benchmark: no suite, or one that only has them write answers."""
    if (group["arm_eval_state"].isin(["none"]) | group["reference_eval_state"].isin(["none"])).all():
        return True
    done = {e for side in ("arm", "reference") for e in group[group[f"{side}_eval_state"] == "done"][f"{side}_eval"]}
    return bool(done) and not done & set(frames.scores["eval_id"])


def _judge(frames: StudyFrames, row: dict[str, Any], hopeless: tuple[Reason, ...]) -> Judgement:
    arms = set(frames.runs["arm"])
    absent = tuple(arm for arm in (row["arm"], row["reference"]) if arm not in arms)
    if absent:
        return Verdict.TOO_FEW_RUNS, (ArmsAbsent(absent),)
    by_loss, planned = row["judged_by"] == "report_loss", row["pairs_planned"]
    reasons: tuple[Reason, ...] = (PairsMissing(row["pairs_missing"], planned),) if row["pairs_missing"] else ()
    reasons += row["reasons"] + ((JudgedByLoss(),) if by_loss else ())
    blocks, gain = (row["loss_blocks"], -row["loss_difference"]) if by_loss else (row["blocks"], row["difference"])
    if row["open_searches"]:
        return Verdict.NONE, (*reasons, SearchesOpen(row["open_searches"]))
    if row["diverged"]:
        return Verdict.UNRESOLVED, (*reasons, PairsDiverged(row["diverged"], planned))
    if blocks < MIN_BLOCKS:
        return Verdict.TOO_FEW_RUNS, (*reasons, TooFewBlocks(blocks, MIN_BLOCKS))
    p = row["p_holm"] if row["confirmatory"] else row["p"]
    reasons += hopeless if row["confirmatory"] else ()
    return Verdict.UNRESOLVED if p > LEVEL else Verdict.BETTER if gain > 0 else Verdict.WORSE, reasons


def _open_searches(frames: StudyFrames, comparison: Comparison) -> int:
    """Searches of the two arms of a tuned comparison, in the cells that it is judged by, that chose nothing."""
    if comparison.role != "tuned":
        return 0
    arms = comparison.arm, comparison.reference
    cells = {training_cell(cell) for cell in cells_of_both(frames.runs[frames.runs["longest"]], *arms)}
    searches = frames.searches[frames.searches["arm"].isin(arms) & frames.searches["cell"].isin(cells)]
    return int(searches.drop_duplicates(["cell", "arm"])["chosen"].isna().sum())


def left_out(pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The macro-average again without each benchmark in turn: whether one of them carries a verdict.

    Args:
        pairs, differences: the study's pairs and seed differences.
        rng: used only where there are too many blocks to list all flips.

    Returns:
        The table `LEFT_OUT`.
    """
    pairs, rows = longest(pairs), []
    for comparison in comparisons(pairs):
        own = primary(comparison.rows_in(longest(differences)))
        names = list(dict.fromkeys(own["benchmark"]))
        for name in names if len(names) > 1 else ():
            blocks = block_differences(own[own["benchmark"] != name])
            row: dict[str, Any] = comparison.columns | {"benchmark": name, "runs": run_ids(comparison.rows_in(pairs))}
            row |= {"blocks": len(blocks), "blocks_for": int((blocks > 0).sum()), "blocks_against": int((blocks < 0).sum())}
            row |= _effect(blocks, rng)
            rows.append({column: row[column] for column in LEFT_OUT.names})
    return LEFT_OUT.frame(rows)


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of primary metrics."""
    return table[table["primary"].astype(bool)]


def win_counts(pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The paper-style count (higher mean wins a cell), and what the same runs would count were the arms the same.

    Args:
        pairs, differences: the study's pairs and seed differences.
        rng: draws the flips where there are too many blocks to list them.

    Returns:
        The table `WIN_COUNTS`.
    """
    pairs, differences = longest(pairs), longest(differences)
    return WIN_COUNTS.frame(
        one.columns | _count(scored, rng) | {"runs": run_ids(one.rows_in(pairs))}
        for one in comparisons(pairs)
        if len(scored := primary(one.rows_in(differences)))
    )


def _count(differences: pd.DataFrame, rng: np.random.Generator) -> dict[str, Any]:
    seeds = differences.pivot_table(index=["model", "rank", "setting", "cell", "benchmark"], columns="seed", values="difference", sort=True)
    models = seeds.index.get_level_values("model")
    blocks = [(m, s) for m in dict.fromkeys(models) for s in seeds.columns if seeds.loc[models == m, s].notna().any()]
    table = np.zeros((len(seeds), len(blocks)))
    for column, (model, seed) in enumerate(blocks):
        table[:, column] = np.where(models == model, seeds[seed].fillna(0.0), 0.0)
    wins, losses, null = count_with_null(table, rng)
    low, high = np.quantile(null[:, 0], [LEVEL / 2, 1 - LEVEL / 2], method="inverted_cdf")
    tied = [f"{m} r{r} {b}" for (m, r, _, _, b), row in zip(seeds.index, table, strict=True) if abs(row.sum()) < 1e-9]
    margin = np.abs(null[:, 0] - null[:, 1]) >= abs(wins - losses)
    return {
        "cells": len(seeds), "wins": wins, "losses": losses, "ties": len(tied), "tied": "; ".join(tied), "blocks": len(blocks),
        "null_low": int(low), "null_high": int(high), "p": float(margin.mean()),
        "p_coins": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
    }  # fmt: skip


def count_with_null(table: Floats, rng: np.random.Generator, *, flips: int = COUNT_FLIPS) -> tuple[int, int, Any]:
    """Wins and losses of cells, and the same after flipping blocks.

    Args:
        table: `(cells, blocks)`, a cell's difference in each block, 0 where the block has none: its row sum decides the cell.
        rng: draws `flips` flips where there are too many blocks (more than `COUNT_FLIPS_EXACT`) to list all.

    Returns:
        wins, losses, and `(flips, 2)` wins and losses under each flip, the unflipped one first.

    >>> count_with_null(np.array([[1.0], [2.0]]), np.random.default_rng(0))[2].tolist()
    [[2, 0], [0, 2]]
    """
    blocks = table.shape[1]
    unflipped = np.zeros((1, blocks), dtype=bool)
    sets = np.vstack([unflipped, flip_sets(blocks, rng, exact_up_to=COUNT_FLIPS_EXACT, draws=flips)])
    slack, counts = 1e-9, []
    for part in np.array_split(sets, -(-len(sets) // _AT_ONCE)):
        sums = np.where(part, -1.0, 1.0) @ table.T
        counts.append(np.stack([(sums > slack).sum(axis=1), (sums < -slack).sum(axis=1)], axis=1))
    null = np.concatenate(counts)
    return int(null[0, 0]), int(null[0, 1]), null
