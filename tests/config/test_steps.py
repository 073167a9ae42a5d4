"""A warm-up as long as the training: refused where the config tells, with the whole message."""

from __future__ import annotations

import pytest

from olora_bench.config import Recipe, compose, load
from olora_bench.config.steps import never_warm
from olora_bench.errors import BadInput


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["recipe.steps=4", "recipe.warmup_steps=4"],
            "recipe.warmup_steps=4: 4 steps of warm-up in 4 steps of training (recipe.steps=4) never reach lr=0.0003. "
            "Allowed: recipe.warmup_steps=0 to 3, or a longer training",
        ),
        (
            ["recipe.steps=7", "recipe.warmup_ratio=0.95"],
            "recipe.warmup_ratio=0.95: 7 steps of warm-up in 7 steps of training (recipe.steps=7) never reach lr=0.0003. "
            "Allowed: recipe.warmup_steps=0 to 6, or a longer training",
        ),
        (
            ["data=alpaca_1k", "data.train_size=16"],
            "recipe.warmup_ratio=0.1: 1 step of warm-up in 1 step of training (recipe.epochs=1 of data.train_size=16) never reach "
            "lr=0.0003. Allowed: recipe.warmup_steps=0, or a longer training",
        ),
    ],
)
def test_known_beforehand_it_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as error:
        load(compose(overrides))
    assert str(error.value) == message


@pytest.mark.parametrize("steps", range(2, 10))
def test_the_default_tenth_is_one_step_of_few(steps: int) -> None:
    assert never_warm(load(compose([f"recipe.steps={steps}"])).recipe, steps) is None


@pytest.mark.parametrize(("warmup", "steps", "share"), [(100, 2, "1%"), (3, 3, "66.7%"), (1, 1, "0%"), (8, 2, "12.5%")])
def test_the_share_that_was_reached(warmup: int, steps: int, share: str) -> None:
    said = never_warm(Recipe(name="x", warmup_steps=warmup), steps)
    assert said is not None and said.startswith(f"{share} of its learning rate: {warmup} step")
