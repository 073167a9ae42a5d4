"""What a comparison says beside its verdict: of other scopes, and without each benchmark. It describes, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
import pandas as pd

from olora_bench.analysis.columns import COMPARISON_COLUMNS, REASONS, RUNS
from olora_bench.analysis.compared import Compared, PairedItems, block_differences, mean_of
from olora_bench.analysis.comparison import Block
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.estimate import Estimate
from olora_bench.analysis.exact import flip_p
from olora_bench.analysis.looked import Looked
from olora_bench.analysis.outcome import effect_columns
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.pairs import run_ids
from olora_bench.analysis.reasons import Reason


class About(StrEnum):
    """What a difference is held to be about: what would be drawn anew, were the study done again."""

    SEEDS_AND_ITEMS = "new seeds and new items"
    WITHIN_MODELS = "new seeds within these models, and new items"
    ITEMS = "these trainings, new items"
    SEEDS = "new seeds, these items"
    FLIPS = "these items, were each block as likely with either sign"


_UNIT = "pp, or nats"
SCOPES = Table(
    "scopes",
    "a (comparison, measure, scope): what the same runs say of other questions than the verdict's",
    (
        *COMPARISON_COLUMNS,
        Column("measure", "score (pp) or report_loss (nats)", heading="measure"),
        Column("about", f"{'; '.join(About)}. With several models, new seeds are new models but within these; the loss has examples "
               "for items", heading="about"),
        Column("test", "crossed, over items, t over blocks, or exact sign flip; at looks, where the study declares any: p is then "
               "sequential, and the interval the repeated one", heading="test"),
        Column("blocks", "blocks (model, seed)", heading="blocks"),
        Column("difference", "arm minus reference", _UNIT, "difference", "3 digits signed"),
        Column("block_se", "standard error of blocks (or models): seeds, and single answers that change from seed to seed; empty where "
               "seeds are not drawn anew", _UNIT, "se of blocks", "3 digits"),
        Column("item_se", "standard error that new items bring; empty where items are not drawn anew", _UNIT, "se of items", "3 digits"),
        Column("low", "lower end of the 95% interval about this scope; the sign flip has none", _UNIT, "low", "3 digits signed"),
        Column("high", "upper end of that interval", _UNIT, "high", "3 digits signed"),
        Column("p", "of no difference in this scope, as it is; the sign flip's is exact, and needs that with no difference a block is as "
               "likely with either sign", heading="p", form="probability"),
        REASONS,
        RUNS,
    ),
)  # fmt: skip
SCOPES_VIEW = View(
    "scopes",
    "What each difference is about",
    "The same difference asked of new seeds and new items (the verdict), of new seeds within these models where there are several, of new "
    "items for these trainings, and of these items only: by the exact sign flip over blocks, which needs that with no difference a block "
    "is as likely with either sign. Examples are the items of the held-out loss. One scope, one interval, its error estimated on its own: "
    "where the wider scope has the narrower interval, that is chance, and the wider interval is the one to read. p as it is.",
    SCOPES,
)

LEFT_OUT = Table(
    "left_out",
    "a (comparison, benchmark) where several benchmarks are scored",
    (
        *COMPARISON_COLUMNS,
        Column("benchmark", "the one that is left out of the mean over benchmarks", heading="without"),
        Column("blocks", "blocks (model, seed) with a score", heading="blocks"),
        Column("blocks_for", "blocks in which the arm is better", heading="for the arm"),
        Column("blocks_against", "blocks in which the reference is better"),
        Column("difference", "mean over the other benchmarks, arm minus reference", "pp", "difference", "pp"),
        Column("low", "lower end of its 95% interval over new seeds and new items; empty below six blocks", "pp", "low", "pp"),
        Column("high", "upper end of that interval", "pp", "high", "pp"),
        Column("p", "of the interval's test, uncorrected: it describes, and decides nothing", heading="p", form="probability"),
        RUNS,
    ),
)
LEFT_OUT_VIEW = View(
    "left_out",
    "Without each benchmark",
    "The macro-average without each benchmark in turn, percentage points: whether one of them carries the verdict. Intervals and p over "
    "new seeds and new items, as they are.",
    LEFT_OUT,
)


def scopes(compared: Sequence[Compared], looked: Sequence[Looked] = ()) -> pd.DataFrame:
    """What each comparison says of other scopes: the table `SCOPES`.

    Args:
        compared: the comparisons.
        looked: what its looks came to, where the study declares any: of what is judged at them, the verdict's scope and the sign flip are.
    """
    seen = {one.comparison: one for one in looked}
    rows = (
        one.comparison.columns | _at_looks(row, one, seen.get(one.comparison)) | {"runs": run_ids(one.pairs)}
        for one in compared
        for row in (*_of_score(one), *_of_loss(one))
    )
    return SCOPES.frame(rows)


def _at_looks(row: dict[str, object], one: Compared, looked: Looked | None) -> dict[str, object]:
    """A row of what is judged at looks, with what they say of the verdict's scope and of the sign flip."""
    judged = looked is not None and looked.said.look >= 0 and looked.by_loss == (row["measure"] == "report_loss")
    if looked is None or not judged or row["about"] not in (About.SEEDS_AND_ITEMS, About.SEEDS, About.FLIPS):
        return row
    row = row | {"test": f"{row['test']}, at looks"}
    if row["about"] is About.FLIPS:
        return row | {"p": looked.flips(one.losses if looked.by_loss else one.blocks)}
    return row | {name: getattr(looked.said, name) for name in ("low", "high", "p")}


def _of_score(one: Compared) -> Iterator[dict[str, object]]:
    if not one.blocks:
        return
    row, items = _Row("score", one.blocks, (*one.lacking, *one.unclustered)), one.items if isinstance(one.items, PairedItems) else None
    if items is not None and len(one.blocks) >= MIN_BLOCKS:
        yield row.of(About.SEEDS_AND_ITEMS, items.new_seeds_and_items())
        yield from row.within_models(items.within_models())
    if items is not None:
        yield row.of(About.ITEMS, items.new_items())
    yield row.flips()


def _of_loss(one: Compared) -> Iterator[dict[str, object]]:
    if not one.losses:
        return
    row, held_out = _Row("report_loss", one.losses, one.these_examples), one.held_out
    if len(one.losses) >= MIN_BLOCKS:
        yield row.of(About.SEEDS if held_out.these else About.SEEDS_AND_ITEMS, held_out.estimate())
        yield from row.within_models(held_out.within_models())
    if (alone := held_out.new_examples()) is not None:
        yield row.of(About.ITEMS, alone)
    yield row.flips()


_TESTS = {
    About.SEEDS_AND_ITEMS: "crossed", About.WITHIN_MODELS: "crossed", About.ITEMS: "over items", About.SEEDS: "t over blocks",
    About.FLIPS: "exact sign flip",
}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    """Rows of one measure of a comparison. `reasons`: why nothing can be said of new items, or each item is its own."""

    measure: str
    blocks: Mapping[Block, Fraction | float]
    reasons: tuple[Reason, ...]

    def of(self, about: About, estimate: Estimate | None) -> dict[str, object]:
        row = {"measure": self.measure, "about": about, "test": _TESTS[about], "blocks": len(self.blocks), "reasons": self.reasons}
        row |= effect_columns(mean_of(self.blocks), estimate, power=False)
        row |= {"block_se": np.nan} if about is About.ITEMS else {"item_se": np.nan} if about is About.SEEDS else {}
        return {name: value for name, value in row.items() if not name.startswith("found")}

    def within_models(self, estimate: Estimate | None) -> Iterator[dict[str, object]]:
        """A row where there are several models, and seeds of each to tell their spread."""
        if estimate is not None and len({block.model for block in self.blocks}) > 1:
            yield self.of(About.WITHIN_MODELS, estimate)

    def flips(self) -> dict[str, object]:
        return self.of(About.FLIPS, None) | {"p": flip_p(list(self.blocks.values()), np.random.default_rng(0))}


def left_out(compared: Sequence[Compared]) -> pd.DataFrame:
    """The macro-average again without each benchmark in turn: the table `LEFT_OUT`."""
    rows = []
    for one in compared:
        names = list(dict.fromkeys(one.differences["benchmark"]))
        for name in names if len(names) > 1 else ():
            blocks = block_differences(one.differences[one.differences["benchmark"] != name])
            known = isinstance(one.items, PairedItems) and len(blocks) >= MIN_BLOCKS
            estimate = one.items.without(name).new_seeds_and_items() if known and isinstance(one.items, PairedItems) else None
            row = effect_columns(mean_of(blocks), estimate, power=False) if blocks else {}
            row |= one.comparison.columns | {"benchmark": name, "blocks": len(blocks), "runs": run_ids(one.pairs)}
            row |= {"blocks_for": sum(v > 0 for v in blocks.values()), "blocks_against": sum(v < 0 for v in blocks.values())}
            rows.append({column: row[column] for column in LEFT_OUT.names})
    return LEFT_OUT.frame(rows)
