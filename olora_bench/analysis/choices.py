"""What blocks chose among: whether an arm's best rate lies inside its finalists, by all blocks together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.estimate import Flags, Floats
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.rates import as_loss
from olora_bench.analysis.runs import with_role

Finalists = Mapping[str, pd.DataFrame]
"""By cell `(seeds, learning rates)`, ascending: each finalist's tuning criterion as a loss, nats; infinite where it diverged, NaN where
it is not known."""


def at_edge(means: Floats) -> Flags:
    """Whether the lowest of these losses, `(..., learning rates)`, is the first or the last: beyond it there may be a lower one.

    >>> at_edge(np.array([[2.0, 1.0, 1.5], [2.0, 1.5, 1.0], [np.inf, np.inf, np.inf]])).tolist()
    [False, True, False]
    """
    return np.asarray(np.minimum(means[..., 0], means[..., -1]) < means[..., 1:-1].min(axis=-1, initial=np.inf))


@dataclass(frozen=True)
class Choices:
    """The finalists of a comparison's blocks. An arm is at an edge where in one of its cells the lowest mean criterion is, or is not known.

    A finalist that diverged counts as the highest of its block's finite losses, so that one divergence does not say which rate is best.
    Where each of the rates diverged in some block, which is best is not known.
    """

    arm: Finalists
    reference: Finalists

    @property
    def arm_at_edge(self) -> bool:
        return _any_at_edge(self.arm)

    @property
    def reference_at_edge(self) -> bool:
        return _any_at_edge(self.reference)

    @property
    def arm_unknown(self) -> bool:
        """Whether each of its rates diverged in some block, so that it counts as at an edge."""
        return any(map(_unknown, self.arm.values()))

    @property
    def reference_unknown(self) -> bool:
        """The same of the reference."""
        return any(map(_unknown, self.reference.values()))

    def before(self, seed: int) -> Choices:
        """Of the seeds below this one alone."""
        sides = ({cell: one[one.index < seed] for cell, one in side.items()} for side in (self.arm, self.reference))
        return Choices(*sides)


def _any_at_edge(finalists: Finalists) -> bool:
    return any(_unknown(table) or bool(at_edge(_means(table))) for table in finalists.values())


def _finished(table: pd.DataFrame) -> Floats:
    """Of the blocks all of whose finalists are finished: losses of one block go together, whatever it drew."""
    return table.dropna().to_numpy(dtype=float)


def _unknown(table: pd.DataFrame) -> bool:
    losses = _finished(table)
    return not len(losses) or bool(np.isinf(losses).any(axis=0).all())


def _means(table: pd.DataFrame) -> Floats:
    losses = _finished(table)
    finite = np.isfinite(losses)
    highest = np.where(finite, losses, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(np.where(finite, losses, highest).mean(axis=0))


def choices(frames: StudyFrames, comparison: Comparison, pairs: pd.DataFrame) -> Choices | None:
    """What the blocks of these pairs chose among; None without finalists.

    Args:
        pairs: rows of that table, of the comparison.
    """
    if comparison.role != "tuned" or frames.tuning is None or pairs.empty:
        return None
    runs = with_role(frames.runs[frames.runs["longest"].astype(bool)], "finalist")
    mine = runs[runs["cell"].isin(pairs["cell"]) & runs["seed"].isin(pairs["seed"])]
    if mine.empty:
        return None
    return Choices(*(_by_cell(mine[mine["arm"] == arm], frames.tuning.criterion) for arm in (comparison.arm, comparison.reference)))


def at_edges(frames: StudyFrames) -> frozenset[tuple[str, str]]:
    """The (arm, cell) whose lowest mean criterion over all blocks lies at an edge of the finalists, or cannot be told since each of them
    diverged somewhere; of every length of schedule of which a block is finished."""
    if frames.tuning is None:
        return frozenset()
    runs = with_role(frames.runs, "finalist")
    found = [(str(arm), _by_cell(own, frames.tuning.criterion)) for arm, own in runs.groupby("arm")]
    return frozenset(
        (arm, cell) for arm, cells in found for cell, one in cells.items() if len(_finished(one)) and _any_at_edge({cell: one})
    )


def _by_cell(runs: pd.DataFrame, criterion: str) -> Finalists:
    """Of one arm's finalists."""
    losses = as_loss(runs, criterion).astype(float).where(runs["state"] != "diverged", np.inf)
    runs = runs.assign(loss=losses)
    return {str(cell): group.pivot_table(index="seed", columns="lr", values="loss", dropna=False) for cell, group in runs.groupby("cell")}
