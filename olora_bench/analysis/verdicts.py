"""The answer of a study: one verdict a comparison, about new seeds and new items of its benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from olora_bench.analysis.columns import COMPARISON_COLUMNS, REASONS, RUNS
from olora_bench.analysis.compared import Compared, mean_of
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import Crossed, scope_of
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.estimate import Estimate
from olora_bench.analysis.frames import Row, StudyFrames, training_cell
from olora_bench.analysis.looked import Looked
from olora_bench.analysis.margins import p_inside
from olora_bench.analysis.outcome import Judgement, Verdict, corrected, effect_columns, judgement, never_found
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS
from olora_bench.analysis.pairs import cells_of_both, run_ids, runs_differ
from olora_bench.analysis.reasons import (
    ArmsAbsent,
    ErrorOverItems,
    JudgedByLoss,
    PairsDiverged,
    PairsMissing,
    Reason,
    SearchesOpen,
    TooFewBlocks,
)

_OF = "of what it is judged by"
_FOUND = "the smallest difference that its test finds with 80% power, at Holm's strictest step"


def _effect_of_loss() -> tuple[Column, ...]:
    return (
        Column("loss_blocks", "blocks with a held-out loss"),
        Column("loss_difference", "mean difference of the final held-out loss, arm minus reference", "nats", "loss", "3 digits signed"),
        Column("loss_low", "lower end of its 95% interval over new seeds, and examples as `loss_new_items` says; empty below six "
               "blocks; -inf where the loss carries the verdict and the arm's best rate lies at an edge of its finalists", "nats",
               "loss low", "3 digits signed"),
        Column("loss_high", "upper end of that interval; inf where the reference's best rate does", "nats", "loss high", "3 digits signed"),
        Column("loss_new_items", "whether the interval is over new examples too; else over these, for records keep no loss of single ones"),
        Column("loss_found", _FOUND, "nats", "loss found", "3 digits"),
        Column("loss_found_low", "lower end of what that may be, as well as the variances are known", "nats"),
        Column("loss_found_high", "upper end", "nats"),
        Column("loss_p", "of the interval's test", heading="loss p", form="probability"),
    )  # fmt: skip


VERDICTS = Table(
    "verdicts",
    "a comparison",
    (
        *COMPARISON_COLUMNS,
        Column("verdict", "better, worse (either may be within the margin), equivalent, unresolved, not enough runs, or no verdict (a "
               "learning-rate search chose nothing, or items are not there)", heading="verdict"),
        Column("judged_by", "score; report_loss, where no benchmark is asked; nothing, where there is no pair of runs"),
        Column("scope", "which models it is about: this model, these models (two to four), or new models", heading="about"),
        Column("models", "models among its pairs"),
        Column("blocks", "blocks (model, seed) with a score", heading="blocks"),
        Column("difference", "mean over benchmarks, arm minus reference", "pp", "difference", "pp"),
        Column("low", "lower end of its 95% interval over new seeds and new items; empty below six blocks", "pp", "low", "pp"),
        Column("high", "upper end of that interval", "pp", "high", "pp"),
        Column("block_se", "standard error of blocks: seeds, and answers that change from seed to seed (of models, where there are "
               "several)", "pp", "se of blocks", "2 digits"),
        Column("item_se", "standard error that new items add", "pp", "se of items", "2 digits"),
        Column("found", _FOUND, "pp", "found from", "number"),
        Column("found_low", "lower end of what that may be, as well as the variances are known", "pp", "at least", "number"),
        Column("found_high", "upper end", "pp", "at most", "number"),
        Column("p", f"of the interval's test, {_OF}", heading="p", form="probability"),
        Column("p_holm", "corrected over the study's confirmatory comparisons; empty for others", heading="p (Holm)", form="probability"),
        Column("holm_over", "how many contrasts p_holm and p_inside_holm are corrected over; 0 for others", heading="Holm over"),
        Column("margin", f"the difference that matters, as the study declares it, {_OF}; empty where it declares none"),
        Column("p_inside", "of a difference of the margin or more; empty without a margin"),
        Column("p_inside_holm", "corrected over the study's confirmatory comparisons; empty for others"),
        Column("blocks_for", f"blocks in which the arm is better, {_OF}"),
        Column("blocks_against", f"blocks in which the reference is better, {_OF}"),
        *_effect_of_loss(),
        Column("look", "the look that it stands on, of those that the study declares; 0 before the first. p is then sequential (the least "
               "level crossed at any look so far), and the interval the repeated one", optional=True),
        Column("look_seeds", "seeds a model of that look; later ones do not enter", optional=True),
        Column("median_unbiased", f"the true difference at which what was seen is as likely to be exceeded as not, {_OF}", optional=True),
        Column("pairs_planned", "pairs of runs that the study plans"),
        Column("pairs_missing", "of these, not there or without a score"),
        Column("diverged", "of these, with a diverged run"),
        Column("open_searches", "learning-rate searches of the two arms that chose nothing"),
        REASONS,
        RUNS,
    ),
)  # fmt: skip
_SHOWN = (
    "contrast", "role", "lr_arm", "scope", "blocks", "difference", "low", "high", "block_se", "item_se", "found", "found_low", "found_high",
    "loss_difference", "loss_low", "loss_high", "loss_p",
)  # fmt: skip
VERDICTS_VIEW = View(
    "verdicts",
    "Verdicts",
    "Confirmatory verdict of each declared comparison: macro-average over benchmarks, percentage points; 95% interval and test over new "
    "seeds and new items of these benchmarks (crossed), Holm over the primary contrasts. Found from: the smallest difference that this "
    "test finds with 80% power, with what it may be. Beside it the held-out loss (nats per token, lower is better) over new seeds, and "
    "over new examples where records keep the loss of each, which is judged where no benchmark is asked.",
    VERDICTS,
    (*_SHOWN, "p", "p_holm", "holm_over", "verdict", "reasons"),
    rows=("confirmatory", True),
)
CONTROLS_VIEW = View(
    "controls",
    "Secondary contrasts",
    "Contrasts beside the verdict, controls among them: macro-average difference in percentage points over new seeds and new items, "
    "held-out loss in nats over new seeds, and over new examples where records keep the loss of each; p as it is.",
    VERDICTS,
    (*_SHOWN, "p", "verdict", "reasons"),
    rows=("confirmatory", False),
)


def confirmatory(frames: StudyFrames, compared: list[Compared], looked: Sequence[Looked] = ()) -> pd.DataFrame:
    """One verdict a comparison: the macro-average over benchmarks, over new seeds and new items.

    Where a comparison's runs are asked no benchmark, their held-out loss is judged, and lower is better.

    Args:
        frames: the study.
        compared: its comparisons.
        looked: what its looks came to, where it declares any; `compared` then holds the seeds that these stand on.

    Returns:
        The table `VERDICTS`. Declared primary contrasts that no pair of runs answers yet stand first.
    """
    family = sum(one.comparison.confirmatory for one in compared)
    seen = {one.comparison: one for one in looked}
    rows = [_row(frames, one, family if one.comparison.confirmatory else 0, seen.get(one.comparison)) for one in compared]
    for name in ("p", "p_inside"):
        rows = corrected(rows, lambda row: row["confirmatory"], name)
    return VERDICTS.frame(_judged(frames, row) for row in rows)


def _row(frames: StudyFrames, one: Compared, holm_over: int, looked: Looked | None) -> Row:
    level = LEVEL / max(holm_over, 1)
    by_loss, group = one.by_loss, one.pairs
    scored = one.differences[["arm_id", "reference_id"]].drop_duplicates()
    unscored = 0 if by_loss else int((group["pair"] == "complete").sum()) - len(scored)
    enough = {"score": len(one.blocks) >= MIN_BLOCKS, "loss": len(one.losses) >= MIN_BLOCKS}
    score, loss = one.score() if enough["score"] else None, one.held_out.estimate() if enough["loss"] else None
    row: Row = one.comparison.columns | {"blocks": len(one.blocks), "loss_blocks": len(one.losses)}
    row |= {"holm_over": holm_over, "judged_by": "nothing" if group.empty else "report_loss" if by_loss else "score"}
    row |= effect_columns(mean_of(one.blocks), score, level=level)
    row |= {f"loss_{name}": value for name, value in effect_columns(mean_of(one.losses), loss, level=level).items()}
    row |= {"loss_new_items": isinstance(loss, Crossed)} | _inside(
        loss if by_loss else score, frames.margin.loss if by_loss else frames.margin.score
    )
    row |= {"p": row["loss_p"]} if by_loss else {}
    row |= {} if looked is None else looked.columns(level)
    better = [-value for value in one.losses.values()] if by_loss else list(one.blocks.values())
    row |= {"blocks_for": sum(value > 0 for value in better), "blocks_against": sum(value < 0 for value in better)}
    row |= {"models": group["model"].nunique(), "scope": scope_of(len({block.model for block in (one.losses if by_loss else one.blocks)}))}
    row |= {"pairs_planned": len(group), "pairs_missing": int((group["pair"] == "incomplete").sum()) + unscored}
    row |= {"diverged": int((group["pair"] == "diverged").sum()), "open_searches": _open_searches(frames, one.comparison)}
    by: tuple[Reason, ...] = (JudgedByLoss(), *one.these_examples) if row["judged_by"] == "report_loss" else ()
    return row | {
        "reasons": (*runs_differ(frames, group), *by),
        "runs": run_ids(group),
        "lacking": () if by_loss else one.lacking,
        "looked": looked,
    }


def _inside(estimate: Estimate | None, margin: float | None) -> dict[str, float]:
    row = {"margin": float("nan") if margin is None else margin, "p_inside": float("nan")}
    return row if estimate is None or margin is None else row | {"p_inside": p_inside(estimate, margin)}


def _judged(frames: StudyFrames, row: Row) -> Row:
    lacking, looked = row.pop("lacking"), row.pop("looked")
    shown = {name: value for name, value in row.items() if name not in ("loss_block_se", "loss_item_se")}
    return shown | dict(zip(("verdict", "reasons"), _judge(frames, row, lacking, looked), strict=True))


def _judge(frames: StudyFrames, row: Row, lacking: tuple[Reason, ...], looked: Looked | None) -> Judgement:
    arms = set(frames.runs["arm"])
    absent = tuple(arm for arm in (row["arm"], row["reference"]) if arm not in arms)
    if absent:
        return Verdict.TOO_FEW_RUNS, (ArmsAbsent(absent),)
    by_loss, planned = row["judged_by"] == "report_loss", row["pairs_planned"]
    reasons: tuple[Reason, ...] = (PairsMissing(row["pairs_missing"], planned),) if row["pairs_missing"] else ()
    reasons += row["reasons"]
    blocks, gain = (row["loss_blocks"], -row["loss_difference"]) if by_loss else (row["blocks"], row["difference"])
    if row["open_searches"]:
        return Verdict.NONE, (*reasons, SearchesOpen(row["open_searches"]))
    if row["diverged"]:
        return Verdict.UNRESOLVED, (*reasons, PairsDiverged(row["diverged"], planned))
    if blocks < MIN_BLOCKS:
        return Verdict.TOO_FEW_RUNS, (*reasons, TooFewBlocks(blocks, MIN_BLOCKS))
    if lacking:
        return Verdict.NONE, (*reasons, *lacking)
    if looked is not None:
        reasons, gain = (*reasons, looked.reason), -looked.said.side if by_loss else looked.said.side
        if looked.said.look < 0:
            return Verdict.TOO_FEW_RUNS, reasons
    end = "_holm" if row["confirmatory"] else ""
    reasons += never_found(row, "loss_" if by_loss else "")
    judged = judgement(gain, row[f"p{end}"], row[f"p_inside{end}"], reasons)
    return judged if looked is None else _with_greater_error(judged, looked)


def _with_greater_error(judged: Judgement, looked: Looked) -> Judgement:
    """A verdict at looks; where the error over items alone is the greater, with what it is by that."""
    verdict, reasons = judged
    if (greater := looked.over_items) is None:
        return judged
    said = greater.said
    other, _ = judgement(-said.side if looked.by_loss else said.side, said.p_holm, said.p_inside_holm, ())
    return verdict, (*reasons, ErrorOverItems(greater.both, greater.alone, looked.by_loss, other.value, same=other is verdict))


def _open_searches(frames: StudyFrames, comparison: Comparison) -> int:
    """Searches of the two arms of a tuned comparison, in the cells that it is judged by, that chose nothing."""
    if comparison.role != "tuned":
        return 0
    arms = comparison.arm, comparison.reference
    cells = {training_cell(cell) for cell in cells_of_both(frames.runs[frames.runs["longest"]], *arms)}
    searches = frames.searches[frames.searches["arm"].isin(arms) & frames.searches["cell"].isin(cells)]
    return int(searches.drop_duplicates(["cell", "arm"])["chosen"].isna().sum())
