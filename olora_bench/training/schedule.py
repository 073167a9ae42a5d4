"""When what happens, as pure functions of the step: learning rate, loss readings, divergence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

_WINDOW = 20
_LIMIT = 1.5


def lr_at(step: int, steps: int, *, peak: float, warmup: int, schedule: Literal["linear", "cosine", "constant"]) -> float:
    """The learning rate of update `step` (0 is the first of `steps`): up from 0 over `warmup` steps, then the schedule, 0 at `steps`.

    The same numbers as transformers' `get_scheduler` gives; `constant` stays at the peak after the warm-up.

    >>> [lr_at(s, 4, peak=1.0, warmup=2, schedule="linear") for s in range(4)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if step < warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "linear":
        return peak * max(0.0, 1.0 - done)
    return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))


def loss_schedule(steps: int, n: int) -> list[int]:
    """The steps after which the part losses are read: `n` of them, 0 and `steps` always among them (so never fewer than two), denser early.

    >>> loss_schedule(100, 6)
    [0, 4, 16, 36, 64, 100]
    """
    n = max(2, min(n, steps + 1))
    chosen = [0]
    for i in range(1, n):
        # Quadratic spacing, but at least one step on from the last and with a step left for each that follows.
        chosen.append(min(max(round(steps * (i / (n - 1)) ** 2), chosen[-1] + 1), steps - (n - 1 - i)))
    return chosen


def divergence(losses: Sequence[float]) -> str | None:
    """Why a run with these train losses (one a step) has diverged, or None.

    A loss that is not finite, or a mean over 20 steps above 1.5 times the first loss for 20 steps in a row.
    """
    step = len(losses)
    if not math.isfinite(losses[-1]):
        return f"train loss is {losses[-1]} at step {step}"
    if step < 2 * _WINDOW - 1:
        return None
    means = [fmean(losses[end - _WINDOW : end]) for end in range(step - _WINDOW + 1, step + 1)]
    if min(means) > _LIMIT * losses[0]:
        return f"the {_WINDOW}-step mean train loss was above {_LIMIT} x the first ({losses[0]:.4g}) for {_WINDOW} steps up to step {step}"
    return None


def part_divergence(losses: Mapping[str, float], step: int) -> str | None:
    """Why a run with these losses of its parts after `step` has diverged, or None: one that is not finite."""
    return next((f"{part} loss is {loss} after step {step}" for part, loss in losses.items() if not math.isfinite(loss)), None)
