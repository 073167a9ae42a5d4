"""Schedules and the divergence rule, as pure functions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from olora_bench.config import Recipe
from olora_bench.config.steps import step_count, warmup_count
from olora_bench.training import loss_schedule, lr_at
from olora_bench.training.schedule import divergence, part_divergence


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (20, 2), (7, 7), (5, 100), (1, 1)])
def test_learning_rate_is_that_of_transformers(schedule: str, steps: int, warmup: int) -> None:
    """Every update's learning rate equals that of transformers' scheduler of the same name."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    for step in range(steps):
        assert lr_at(step, steps, peak=3e-4, warmup=warmup, schedule=schedule) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


@given(steps=st.integers(1, 3000), n=st.integers(1, 60))
def test_loss_schedule(steps: int, n: int) -> None:
    """Begins at 0, ends at the last step, rises, has as many readings as asked where there are steps enough, and is denser early."""
    chosen = loss_schedule(steps, n)
    gaps = [b - a for a, b in pairwise(chosen)]
    assert (chosen[0], chosen[-1]) == (0, steps)
    assert min(gaps) >= 1
    assert len(chosen) == max(2, min(n, steps + 1))
    assert all(later >= earlier - 1 for earlier, later in pairwise(gaps))


def test_step_and_warmup_counts() -> None:
    """Epochs count their last smaller batch, as transformers' Trainer does; explicit steps win; warm-up is rounded up."""
    assert step_count(Recipe(name="x", epochs=1, batch_size=16), 1000) == 63
    assert step_count(Recipe(name="x", epochs=0.5, batch_size=16), 1000) == 32
    assert step_count(Recipe(name="x", epochs=3, batch_size=16, steps=7), 1000) == 7
    assert warmup_count(Recipe(name="x", warmup_ratio=0.1), 63) == 7
    assert warmup_count(Recipe(name="x", warmup_ratio=0.1, warmup_steps=0), 63) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_loss_diverges_at_once(bad: float) -> None:
    """The step and the value are named."""
    assert divergence([2.0, 2.1, bad]) == f"train loss is {bad} at step 3"


def test_high_loss_diverges_after_twenty_windows() -> None:
    """A 20-step mean above 1.5 times the first loss for 20 steps, not a step earlier, and not at exactly 1.5 times."""
    losses = [2.0, *[3.2] * 60]
    first = next(step for step in range(1, len(losses)) if divergence(losses[:step]) is not None)
    windows = [sum(losses[end - 20 : end]) / 20 > 3.0 for end in range(20, first + 1)]
    assert windows[-20:] == [True] * 20
    assert sum(windows) == 20
    assert divergence([2.0, *[3.0] * 60]) is None


def test_a_spike_that_passes_is_no_divergence() -> None:
    """Nineteen high steps among low ones are forgiven."""
    losses = [2.0, *[2.0] * 30, *[4.0] * 19, *[2.0] * 40]
    assert all(divergence(losses[:step]) is None for step in range(1, len(losses) + 1))


def test_a_part_loss_that_is_not_finite_is_divergence() -> None:
    """The first such part is named."""
    assert part_divergence({"tune": 2.0, "report": math.nan}, 8) == "report loss is nan after step 8"
    assert part_divergence({"tune": math.inf, "report": math.nan}, 0) == "tune loss is inf after step 0"
    assert part_divergence({"tune": 2.0, "report": 3.0}, 8) is None
