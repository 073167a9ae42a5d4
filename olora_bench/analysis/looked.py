"""A study with looks: what each contrast that carries a verdict came to at them, and which of its seeds that stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd

from olora_bench.analysis.compared import Compared, PairedItems, compared
from olora_bench.analysis.comparison import Block, Comparison
from olora_bench.analysis.design import Design, errors_of, found
from olora_bench.analysis.exact_looks import sequential_sign_flip
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.looks import spent
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.power import Found
from olora_bench.analysis.reasons import AtLook
from olora_bench.analysis.sequential import Look, Sequential, sequential

_STUDIES = 4000
"""Simulated to say what could have been found: power is known to 0.6 points."""

_ROUNDING = 1e-9
"""Two errors that are the same by other sums differ by less."""


@dataclass(frozen=True)
class OverItems:
    """The looks again, with an error over new seeds and new items that is nowhere below that over items alone, of which it holds all.

    `both`, `alone`: the standard errors of the two at the look that the verdict stands on. `said`: what the looks say with the greater.
    """

    both: float
    alone: float
    said: Sequential


@dataclass(frozen=True)
class Looked:
    """A contrast after its looks so far.

    Attributes:
        comparison: whose.
        by_loss: whether its held-out loss is judged.
        plan: seeds a model at every declared look, from `first_seed` on.
        looks: what those seen saw.
        said: what they say.
        models: how many there are.
        margin: the difference that matters, in the unit of what is judged; None where the study declares none.
        over_items: where the error over items alone is the greater, what is said with it.
    """

    comparison: Comparison
    by_loss: bool
    plan: tuple[int, ...]
    first_seed: int
    looks: tuple[Look, ...]
    said: Sequential
    models: int
    margin: float | None
    over_items: OverItems | None

    @property
    def seeds(self) -> int:
        """Seeds a model that its verdict stands on; before the first look, those that it waits for."""
        return self.plan[max(self.said.look, 0)]

    @property
    def next(self) -> int | None:
        """Seeds a model that the look needs which may decide it; None where it is decided or there is none."""
        after = self.said.look + 1
        return None if self.said.decided or after == len(self.plan) else self.plan[after]

    @property
    def reason(self) -> AtLook:
        """Where it stands, as what to know beside its verdict."""
        return AtLook(self.said.look + 1, len(self.plan), self.seeds, self.said.decided, self.next)

    @property
    def share(self) -> float:
        """The share of a level that this look alone may spend: a p over it is one whenever a study stopped (Bonferroni over looks)."""
        shares = np.diff(spent(self.plan), prepend=0.0)
        return float(shares[max(self.said.look, 0)])

    def columns(self, level: float) -> dict[str, float]:
        """Its columns of the table of verdicts, those of the judged effect with the prefix that it has there.

        Args:
            level: of the contrast, at Holm's strictest step.
        """
        said, found, prefix = self.said, self.found(level), "loss_" if self.by_loss else ""
        effect = {"low": said.low, "high": said.high, "found": found.difference, "found_low": found.low, "found_high": found.high}
        row = {
            "p": said.p,
            "p_inside": said.p_inside,
            "median_unbiased": said.median_unbiased,
            "look": said.look + 1,
            "look_seeds": self.seeds,
        }
        return row | {f"{prefix}{name}": value for name, value in effect.items()} | {f"{prefix}p": said.p}

    def flips(self, blocks: Mapping[Block, Fraction | float]) -> float:
        """p of the exact sign flip at the looks so far. `blocks`: the differences that its verdict stands on."""
        by_seed = sorted(blocks, key=lambda block: (block.seed, block.model))
        seen = self.plan[: self.said.look + 1]
        ends = [sum(block.seed < self.first_seed + seeds for block in by_seed) for seeds in seen]
        values = [Fraction(blocks[block]) for block in by_seed]
        return float(sequential_sign_flip(values, ends, self.plan, np.random.default_rng(0)).p)

    def found(self, level: float) -> Found:
        """The smallest difference that the looks find four times in five, as they end, for equivalence too; NaN where a side is open.

        Args:
            level: of the contrast, at Holm's strictest step.
        """
        if self.said.p != self.said.p or np.isinf([self.said.low, self.said.high]).any():
            return Found(*[float("nan")] * 3)
        errors = errors_of(self.looks[self.said.look], self.seeds, self.models)
        return found(Design(self.plan, models=self.models, margin=self.margin, level=level), errors, studies=_STUDIES)


def looked(frames: StudyFrames, all_seeds: Sequence[Compared]) -> list[Looked]:
    """Judge the contrasts that carry a verdict at the looks that there are; none where the study declares no looks.

    Args:
        frames: the study.
        all_seeds: its comparisons, with all seeds that there are.
    """
    family = [one for one in all_seeds if one.comparison.confirmatory] if frames.looks else []
    seen = [tuple(_looks(frames, one)) for one in family]
    margins = [frames.margin.loss if one.by_loss else frames.margin.score for one in family]
    said = sequential(seen, frames.looks, margins=margins)
    over_items = _over_items(frames, family, seen, said, margins)
    return [
        Looked(
            one.comparison, one.by_loss, frames.looks, frames.first_seed, looks, what, max(one.pairs["model"].nunique(), 1), margin, more
        )
        for one, looks, what, margin, more in zip(family, seen, said, margins, over_items, strict=True)
    ]


def _over_items(
    frames: StudyFrames, family: Sequence[Compared], seen: Sequence[Sequence[Look]], said: Sequence[Sequential],
    margins: Sequence[float | None],
) -> list[OverItems | None]:  # fmt: skip
    """Of each contrast, where the error over items alone is the greater at the look that it stands on."""
    alone = [
        [_variance_of_items(one.before(frames.first_seed + seeds)) for seeds in frames.looks[: what.look + 1]]
        for one, what in zip(family, said, strict=True)
    ]
    both = [float(looks[what.look].estimate.variance) if what.look >= 0 else np.nan for looks, what in zip(seen, said, strict=True)]
    greater = [bool(own and own[-1] > (1 + _ROUNDING) * whole) for own, whole in zip(alone, both, strict=True)]
    if not any(greater):
        return [None] * len(family)
    raised = [
        [_raised(*one) for one in zip(looks, own, frames.looks, strict=False)] if more else looks
        for looks, own, more in zip(seen, alone, greater, strict=True)
    ]
    again = sequential(raised, frames.looks, margins=margins)
    return [
        OverItems(float(np.sqrt(whole)), float(np.sqrt(own[-1])), what) if more else None
        for whole, own, what, more in zip(both, alone, again, greater, strict=True)
    ]


def _variance_of_items(one: Compared) -> float:
    """Of the difference for these trainings on new items; NaN where that cannot be told."""
    alone = one.held_out.new_examples() if one.by_loss else one.items.new_items() if isinstance(one.items, PairedItems) else None
    return float("nan") if alone is None else float(alone.item_variance)


def _raised(look: Look, alone: float, seeds: int) -> Look:
    """A look whose blocks spread at least as much as their single answers alone make them: what `alone` has beyond the items' part."""
    least, of = float(np.fmax(alone - float(look.estimate.item_variance), 0.0)), look.estimate
    return Look(replace(of, block_variance=np.maximum(of.block_variance, least)), np.maximum(look.seed_variance, seeds * least))


def stood(frames: StudyFrames, looked: Iterable[Looked], table: pd.DataFrame) -> pd.DataFrame:
    """A table about comparisons, with a column `seed`, without the seeds that a verdict does not stand on."""
    for one in looked:
        own = one.comparison.rows_in(table)
        table = table.drop(own.index[own["seed"] >= frames.first_seed + one.seeds])
    return table.reset_index(drop=True)


def _looks(frames: StudyFrames, one: Compared) -> Iterator[Look]:
    """What each look sees, up to the first of which a run is not finished or a pair diverged, which leaves the contrast unresolved."""
    for seeds in frames.looks:
        now = one.before(frames.first_seed + seeds)
        if now.pairs.empty or not _finished(now, seeds):
            return
        look = seen_at_once(now)
        if look is None:
            return
        blocks = len(now.losses if now.by_loss else now.blocks)
        yield look if blocks >= MIN_BLOCKS else replace(look, estimate=replace(look.estimate, block_variance=np.asarray(np.nan)))


def seen_at_once(one: Compared) -> Look | None:
    """What a look sees that has all seeds of a comparison; None where there is nothing to judge."""
    if one.by_loss:
        return Look(one.held_out.estimate(), one.held_out.seed_variance()) if one.losses else None
    return Look(one.items.new_seeds_and_items(), one.items.seed_variance()) if isinstance(one.items, PairedItems) else None


def _finished(now: Compared, seeds: int) -> bool:
    """Whether all seeds of a look have their runs, and scores where they are asked for."""
    pairs, done = now.pairs, now.pairs["pair"] == "complete"
    if not now.by_loss:
        done &= (pairs[["arm_eval_state", "reference_eval_state"]] == "done").all(axis=1)
    return bool(done.all()) and bool((pairs.groupby("cell")["seed"].nunique() == seeds).all())


def at_looks(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame) -> list[Looked]:
    """`looked` of a study's pairs and seed differences."""
    return looked(frames, compared(frames, pairs, differences)) if frames.looks else []
