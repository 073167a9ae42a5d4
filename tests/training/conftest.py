from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from olora_bench.config import Experiment, compose, load
from olora_bench.data import Example, Parts
from olora_bench.inits import Adapted, apply
from olora_bench.models import load_base


def examples(n: int, seed: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        length = int(rng.integers(8, 50))
        supervised = np.arange(length) >= length // 2
        made.append(Example(f"{seed}-{i}", "random", rng.integers(3, 259, length).astype(np.int32), supervised, False))
    return made


@pytest.fixture(scope="session")
def parts() -> Parts:
    return Parts(examples(40, 0), examples(6, 1), examples(7, 2))


@pytest.fixture
def experiment(machine: list[str]) -> Callable[..., Experiment]:
    """A tiny experiment with overrides: 12 steps of batch 8."""
    fixed = [
        "model=tiny_tinyllama",
        "data=made_up",
        "suite=none",
        "tracker=none",
        "rank=4",
        "lr=1e-2",
        "recipe.steps=12",
        "recipe.batch_size=8",
    ]

    def make(*overrides: str) -> Experiment:
        return load(compose([*fixed, *machine, *overrides]))

    return make


@pytest.fixture
def adapt() -> Iterator[Callable[..., Adapted]]:
    """The adapter of an experiment on a base of its own."""

    def make(experiment: Experiment, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Adapted:
        return apply(load_base(experiment.model, None, dtype, device, experiment.machine.cache_dir), experiment)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models are fastest on one thread, whoever else is at work
    yield make
    torch.set_num_threads(threads)
