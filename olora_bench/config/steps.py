"""How many optimiser steps a recipe makes, and how many of them warm up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olora_bench.config.schema import Recipe


def step_count(recipe: Recipe, examples: int) -> int:
    """Optimiser steps: `recipe.steps`, or the epochs' worth of batches, a last smaller batch of an epoch counted as one."""
    return recipe.steps or max(1, math.ceil(recipe.epochs * math.ceil(examples / recipe.batch_size)))


def warmup_count(recipe: Recipe, steps: int) -> int:
    """Warm-up steps: `recipe.warmup_steps`, or the ratio's share of `steps`, rounded up."""
    return math.ceil(recipe.warmup_ratio * steps) if recipe.warmup_steps is None else recipe.warmup_steps


def never_warm(recipe: Recipe, steps: int) -> str | None:
    """The share of its learning rate at which a training ends whose warm-up is as long or longer, in words; None where it warms up.

    >>> from olora_bench.config import Recipe
    >>> never_warm(Recipe(name="author", warmup_steps=100), steps=2)
    '1% of its learning rate: 100 steps of warm-up in 2 steps of training'
    """
    warmup = warmup_count(recipe, steps)
    if warmup < steps:
        return None
    return f"{100 * (steps - 1) / warmup:.3g}% of its learning rate: {_steps(warmup)} of warm-up in {_steps(steps)} of training"


def _steps(count: int) -> str:
    return f"{count} step" + "s" * (count != 1)
