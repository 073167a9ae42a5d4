"""What blocks chose among: whether an arm's best rate lies inside its finalists, by all blocks together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.estimate import Flags, Floats
from olora_bench.analysis.frames import StudyFrames
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
    """The finalists of a comparison's blocks. An arm is at an edge where in one of its cells the lowest mean criterion is."""

    arm: Finalists
    reference: Finalists

    @property
    def arm_at_edge(self) -> bool:
        return _any_at_edge(self.arm)

    @property
    def reference_at_edge(self) -> bool:
        return _any_at_edge(self.reference)

    def before(self, seed: int) -> Choices:
        """Of the seeds below this one alone."""
        sides = ({cell: one[one.index < seed] for cell, one in side.items()} for side in (self.arm, self.reference))
        return Choices(*sides)


def _any_at_edge(finalists: Finalists) -> bool:
    """By the blocks all of whose finalists are finished: losses of one block go together, whatever it drew."""
    known = [table.dropna() for table in finalists.values()]
    return any(bool(at_edge(table.to_numpy(dtype=float).mean(axis=0))) for table in known if len(table))


def choices(frames: StudyFrames, comparison: Comparison, pairs: pd.DataFrame) -> Choices | None:
    """What the blocks of these pairs chose among; None without finalists.

    Args:
        pairs: rows of that table, of the comparison.
    """
    if comparison.role != "tuned" or frames.tuning is None or pairs.empty:
        return None
    runs = with_role(frames.runs[frames.runs["longest"].astype(bool)], "finalist")
    mine = runs[runs["cell"].isin(pairs["cell"]) & runs["seed"].isin(pairs["seed"])]
    values = mine[f"metrics.{frames.tuning.criterion}"].astype(float) if len(mine) else pd.Series(dtype=float)
    losses = (values if frames.tuning.criterion == "tune_loss" else -values).where(mine["state"] != "diverged", np.inf)
    sides = [_by_cell(mine.assign(loss=losses)[mine["arm"] == arm]) for arm in (comparison.arm, comparison.reference)]
    return Choices(*sides) if any(sides) else None


def _by_cell(runs: pd.DataFrame) -> Finalists:
    return {str(cell): group.pivot_table(index="seed", columns="lr", values="loss", dropna=False) for cell, group in runs.groupby("cell")}
