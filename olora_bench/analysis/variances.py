"""The variances that a study may expect before it has run: from finished records of the same cells, else from stated defaults.

Records of a study whose blocks choose among finalists tell of differences of what was kept: choosing is in their spread. The stated
defaults are of `results/smollm2`, which trained the chosen rate alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.compared import Compared, PairedItems, compared
from olora_bench.analysis.crossed import residual_variance
from olora_bench.analysis.design import Errors, errors_of
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.looked import seen_at_once
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.pairs import pairs

SEED = 0.47
"""Squared percentage points, of results/smollm2 at tuned rates: of a macro-average from block to block."""
ITEM = 223.0
"""Squared percentage points, of the same: of an item's own difference, so that the mean over n of a benchmark has 1/n of it."""
ITEM_DF_SHARE = 0.37
"""Degrees of freedom that an item brings to what is known of the items' variance: most items say the same of both arms."""
ITEM_NOISE = 4.26
"""The standard deviation of what is estimated of the items' variance, as a share of it, times the root of the number of items."""
SEED_LOSS = 0.0007
"""Squared nats per token, of results/smollm2 at tuned rates: of the held-out loss from block to block."""

AT_EDGE = {3: (0.44, 0.57), 5: (0.05, 0.07)}
"""By finalists, the chances that an arm's best rate lies at an edge of them, at every look and at a look (`simulations.price`, loss)."""


@dataclass(frozen=True)
class Foreseen:
    """Variances with where they come from: `seeds` a model that finished records have, 0 where they are the stated defaults."""

    errors: Errors
    seeds: int


def assumed(items: Mapping[str, int]) -> Foreseen:
    """Before any record: a contrast of scores over benchmarks of so many items, or of held-out loss where there are none.

    More items lower what seeds bring too; the defaults leave that out, and so promise too little.

    >>> round(assumed(dict.fromkeys("abcdef", 300)).errors.item, 3)
    0.124
    """
    if not items:
        return Foreseen(Errors(SEED_LOSS, 0.0), 0)
    item = sum(ITEM / count for count in items.values()) / len(items) ** 2
    count = sum(items.values())
    return Foreseen(Errors(SEED, item, item_df=ITEM_DF_SHARE * count, item_noise=item * ITEM_NOISE / count**0.5), 0)


def seen(frames: StudyFrames) -> dict[tuple[str, str], Foreseen]:
    """By (arm, reference), what records tell of each contrast that carries a verdict; those with too few are not in it.

    Args:
        frames: a study, finished or not.
    """
    table = pairs(frames)
    found = compared(frames, table, seed_differences(frames, table))
    known = {(one.comparison.arm, one.comparison.reference): _seen(one) for one in found if one.comparison.confirmatory}
    return {contrast: one for contrast, one in known.items() if one is not None}


def _seen(one: Compared) -> Foreseen | None:
    blocks = one.losses if one.by_loss else one.blocks
    models = len({block.model for block in blocks})
    seeds = len(blocks) // max(models, 1)
    if len(blocks) < MIN_BLOCKS or seeds < 2:
        return None
    look = seen_at_once(one)
    if look is None:
        return None
    tables = one.items.tables if not one.by_loss and models == 1 and isinstance(one.items, PairedItems) else None
    residual = 0.0 if tables is None else float(residual_variance(tables))
    return Foreseen(errors_of(look, seeds, models, residual), seeds)
