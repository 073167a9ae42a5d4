"""What a comparison is judged by: its pairs of runs, block by block and item by item, with the estimates that they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from olora_bench.analysis.answers import Answered, Answers
from olora_bench.analysis.choices import choices
from olora_bench.analysis.comparison import Block, Comparison, comparisons
from olora_bench.analysis.crossed import Crossed, by_cluster, crossed, of_items, seed_variance
from olora_bench.analysis.estimate import Estimate, Floats
from olora_bench.analysis.exact import macro_average
from olora_bench.analysis.frames import JUDGED_ROLE, StudyFrames
from olora_bench.analysis.held_out import HeldOut, final_losses, held_out
from olora_bench.analysis.reasons import ItemsDiffer, ItemsUnread, Reason, SourcesUnread, TooFewItems
from olora_bench.analysis.sources import Sources

_PAIR = ("arm_id", "arm_eval", "reference_id", "reference_eval")


@dataclass(frozen=True)
class PairedItems:
    """Both arms' answers to the same items.

    Attributes:
        tables: by benchmark `(items, blocks)`, 100 where the arm alone is right, -100 where the reference alone is, the mean over a
            block's pairs: means are percentage points. Items that share a passage or a source are one row (`crossed.by_cluster`).
        blocks: of the columns.
        sources: whether records say which items share one; else each item is a row.
    """

    tables: Mapping[str, Floats]
    blocks: tuple[Block, ...]
    sources: bool

    def without(self, benchmark: str) -> PairedItems:
        """The other benchmarks."""
        return replace(self, tables={name: table for name, table in self.tables.items() if name != benchmark})

    def new_seeds_and_items(self) -> Crossed:
        """What they say of new seeds and new items, with several models of these or of new models; two blocks at least."""
        return crossed(self.tables, self._models)

    def seed_variance(self) -> Floats:
        """What one seed of every model adds to the variance of `new_seeds_and_items`."""
        return seed_variance(self.tables, self._models)

    def before(self, seed: int) -> PairedItems:
        """Of the seeds below this one alone."""
        kept = [block.seed < seed for block in self.blocks]
        tables = {name: table[:, kept] for name, table in self.tables.items()}
        return replace(self, tables=tables, blocks=tuple(block for block in self.blocks if block.seed < seed))

    def within_models(self) -> Crossed | None:
        """What they say of new seeds of just these models and new items; None with one seed of a model."""
        return crossed(self.tables, self._models, fixed_models=True) if min(map(self._models.count, self._models)) > 1 else None

    def new_items(self) -> Estimate:
        """What they say of these trainings and new items."""
        return of_items(self.tables, self._models)

    @property
    def _models(self) -> list[str]:
        return [block.model for block in self.blocks]


Lacking = ItemsUnread | ItemsDiffer | TooFewItems


@dataclass(frozen=True)
class Compared:
    """A comparison with all that it is judged by; pairs of the longest schedules only.

    Attributes:
        pairs, differences: its rows of those tables, `differences` of primary metrics only.
        blocks: each block's macro-average, percentage points, exactly.
        held_out: what its pairs say of the final held-out loss.
        items: item by item; or why that cannot be told; None where nothing is scored.
    """

    comparison: Comparison
    pairs: pd.DataFrame
    differences: pd.DataFrame
    blocks: Mapping[Block, Fraction]
    held_out: HeldOut
    items: PairedItems | Lacking | None

    @property
    def by_loss(self) -> bool:
        """Whether its held-out loss is judged, since its runs are asked no benchmark."""
        return self.held_out.judged

    @property
    def lacking(self) -> tuple[Reason, ...]:
        """Why nothing can be said of new items."""
        return (self.items,) if isinstance(self.items, Lacking) else ()

    @property
    def unclustered(self) -> tuple[Reason, ...]:
        """Why each item counts as one of its own."""
        return (SourcesUnread(),) if isinstance(self.items, PairedItems) and not self.items.sources else ()

    def score(self) -> Crossed | None:
        """The macro-average over new seeds and new items; None where the items are not there."""
        return self.items.new_seeds_and_items() if isinstance(self.items, PairedItems) else None

    def before(self, seed: int) -> Compared:
        """Of the seeds below this one alone."""
        kept = {block: value for block, value in self.blocks.items() if block.seed < seed}
        items = self.items.before(seed) if isinstance(self.items, PairedItems) else self.items
        pairs, differences = (table[table["seed"] < seed] for table in (self.pairs, self.differences))
        return Compared(self.comparison, pairs, differences, kept, self.held_out.before(seed), items)

    @property
    def these_examples(self) -> tuple[Reason, ...]:
        """Why nothing can be said of new examples."""
        return (self.held_out.these,) if self.losses and self.held_out.these is not None else ()

    @property
    def losses(self) -> Mapping[Block, float]:
        """Each block's mean difference of the final held-out loss, nats per supervised token."""
        return self.held_out.blocks


def compared(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> list[Compared]:
    """Every comparison; declared primary contrasts that no pair of runs answers yet stand first.

    Args:
        frames, pairs, differences: the study, its pairs and its seed differences.
    """
    pairs, differences = longest(pairs), longest(primary(differences))
    losses = final_losses(frames)
    there = comparisons(pairs)
    shown = [*_without_pairs(frames, there), *there]
    return [_compared(frames, one, one.rows_in(pairs), one.rows_in(differences), losses) for one in shown]


def _without_pairs(frames: StudyFrames, compared: list[Comparison]) -> list[Comparison]:
    role = JUDGED_ROLE[frames.protocol]
    there = {one.contrast for one in compared if one.role == role}
    declared = [c for c in frames.contrasts if c.kind == "primary"]
    absent = [Comparison(c.arm, c.reference, c.kind, role, confirmatory=True, lr=None) for c in declared]
    return [one for one in absent if one.contrast not in there]


def _compared(
    frames: StudyFrames, comparison: Comparison, pairs: pd.DataFrame, differences: pd.DataFrame, losses: Mapping[str, float]
) -> Compared:
    blocks, items = block_differences(differences), paired_items(frames, differences) if len(differences) else None
    found = held_out(frames.examples, losses, pairs[pairs["pair"] == "complete"])
    found = replace(found, choices=choices(frames, comparison, pairs), judged=_asked_no_benchmark(frames, pairs))
    return Compared(comparison, pairs, differences, blocks, found, items)


def _asked_no_benchmark(frames: StudyFrames, pairs: pd.DataFrame) -> bool:
    """Whether the runs of a comparison's pairs are asked no benchmark: no suite, or one that only has them write answers."""
    if (pairs["arm_eval_state"].isin(["none"]) | pairs["reference_eval_state"].isin(["none"])).all():
        return True
    done = {e for side in ("arm", "reference") for e in pairs[pairs[f"{side}_eval_state"] == "done"][f"{side}_eval"]}
    return bool(done) and not done & set(frames.scores["eval_id"])


def longest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of cells that no cell of their family outlasts: those that enter a verdict."""
    return table[table["longest"].astype(bool)]


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of primary metrics."""
    return table[table["primary"].astype(bool)]


def block_differences(differences: pd.DataFrame) -> dict[Block, Fraction]:
    """The macro-average over benchmarks of each block, in percentage points, exactly: scores are counts over items.

    A benchmark counts the same however many ranks and settings a block has: first the mean over benchmarks of each pair of runs, then
    over the block's pairs.
    """
    more: dict[tuple[Block, object], dict[str, tuple[int, int]]] = {}
    named = ("model", "seed", "cell", "arm_id", "reference_id", "benchmark", "more", "items")
    for model, seed, cell, arm, reference, benchmark, lead, count in zip(*(differences[name].tolist() for name in named), strict=True):
        more.setdefault((Block(model, seed), (cell, arm, reference)), {})[benchmark] = lead, count
    found: dict[Block, list[Fraction]] = {}
    for (block, _), leads in more.items():
        averages = macro_average({name: lead for name, (lead, _) in leads.items()}, {name: count for name, (_, count) in leads.items()})
        found.setdefault(block, []).append(100 * averages)
    return {block: sum(found[block], Fraction(0)) / len(found[block]) for block in sorted(found)}


def mean_of(blocks: Mapping[Block, Fraction | float]) -> float:
    """The mean over models, each with its mean over seeds: what the intervals are about. NaN without a block."""
    models: dict[str, list[Fraction | float]] = {}
    for block, value in blocks.items():
        models.setdefault(block.model, []).append(value)
    return float(sum(sum(values) / len(values) for values in models.values()) / len(models)) if models else float("nan")


def paired_items(frames: StudyFrames, differences: pd.DataFrame) -> PairedItems | Lacking:
    """The answers of both arms to the same items, aligned by their ids.

    Args:
        frames: the study.
        differences: rows of the table of seed differences, one metric a benchmark, at least one.

    Returns:
        The reason instead where items are not there, or pairs do not share them.
    """
    answers = frames.answers
    blocks = sorted({Block(model, seed) for model, seed in zip(differences["model"], differences["seed"], strict=True)})
    pairs = set(_pairs(differences))
    if unread := {pair for pair in pairs if None in (answers(pair[0], None, pair[1]), answers(pair[2], None, pair[3]))}:
        return ItemsUnread(len(unread), len(pairs))
    sources, tables = _sources(frames.sources, list(dict.fromkeys(_pairs(differences)))), dict[str, Floats]()
    for benchmark, own in differences.groupby("benchmark", sort=False):
        name = str(benchmark)
        found = _table(answers, own, name, blocks) if set(_pairs(own)) == pairs else None
        if found is None:
            return ItemsDiffer(name)
        table = _clustered(*found, (sources or {}).get(name, {}))
        if len(table) < 2:
            return TooFewItems(name, len(table), 2)
        tables[name] = table
    return PairedItems(tables, tuple(blocks), sources is not None)


def _sources(known: Sources, pairs: list[tuple[str, str, str, str]]) -> Mapping[str, Mapping[str, str]] | None:
    """Which items share a passage or a source, as the first or the last pair says: all share their items, and not all are as old."""
    told = (known(*who) for pair in (pairs[0], pairs[-1]) for who in (pair[:2], pair[2:]))
    return next((sources for sources in told if sources is not None), None)


def _clustered(table: Floats, ids: pa.Array[Any], sources: Mapping[str, str]) -> Floats:
    """`(items, blocks)` with a row for all items of a source."""
    if len(set(sources.values())) == len(sources):
        return table
    return by_cluster(table, [sources.get(one, one) for one in ids.to_pylist()])


def _pairs(differences: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    return zip(*(differences[name].tolist() for name in _PAIR), strict=True)


def _table(answers: Answers, own: pd.DataFrame, benchmark: str, blocks: list[Block]) -> tuple[Floats, pa.Array[Any]] | None:
    """`(items, blocks)` of one benchmark, and the items' ids; None where an evaluation has other items than the first."""
    columns = {block: place for place, block in enumerate(blocks)}
    counts, sums, ids = np.zeros(len(blocks), np.int16), np.zeros((0, 0), np.int16), None
    for model, seed, metric, pair in zip(own["model"], own["seed"], own["metric"], _pairs(own), strict=True):
        known = [(answers(*who) or {}).get(benchmark) for who in ((pair[0], None, pair[1]), (pair[2], None, pair[3]))]
        if ids is None and known[0] is not None:
            ids = known[0].item_id
            sums = np.zeros((len(ids), len(blocks)), np.int16)
        arm, reference = (None if one is None else _aligned(one, metric, ids) for one in known)
        if arm is None or reference is None:
            return None
        place = columns[Block(model, seed)]
        sums[:, place] += arm.astype(np.int16) - reference
        counts[place] += 1
    if ids is None or (100 % counts).any():
        return None if ids is None else (100 * sums / counts, ids)
    return (sums * (100 // counts)).astype(np.int8), ids  # as exact, and an eighth of the memory: thousands of items by hundreds of blocks


def _aligned(answered: Answered, metric: str, ids: pa.Array[Any] | None) -> np.ndarray[Any, Any] | None:
    """Which items are right, in the order of `ids`; None where they are other items."""
    right = answered.right(metric)
    if ids is None or ids is answered.item_id or ids.equals(answered.item_id):
        return right
    index = pd.Index(answered.item_id.to_pylist())
    if len(index) != len(ids) or not index.is_unique:
        return None
    places = index.get_indexer(ids.to_pylist())
    return None if (places < 0).any() else right[places]
