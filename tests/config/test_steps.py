"""A warm-up as long as the training: what is said of it."""

from __future__ import annotations

import pytest

from olora_bench.config import Recipe, compose, load
from olora_bench.config.steps import never_warm


@pytest.mark.parametrize("steps", range(2, 10))
def test_the_default_tenth_is_one_step_of_few(steps: int) -> None:
    assert never_warm(load(compose([f"recipe.steps={steps}"])).recipe, steps) is None


@pytest.mark.parametrize(("warmup", "steps", "share"), [(100, 2, "1%"), (3, 3, "66.7%"), (1, 1, "0%"), (8, 2, "12.5%")])
def test_the_share_that_was_reached(warmup: int, steps: int, share: str) -> None:
    said = never_warm(Recipe(name="x", warmup_steps=warmup), steps)
    assert said is not None and said.startswith(f"{share} of its learning rate: {warmup} step")
