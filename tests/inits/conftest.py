from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from olora_bench.config import Experiment, compose, load
from olora_bench.models import Base, load_base


@pytest.fixture
def experiment(machine: list[str]) -> Callable[..., Experiment]:
    """A tiny experiment with overrides."""

    def make(*overrides: str) -> Experiment:
        return load(compose(["model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", *machine, *overrides]))

    return make


@pytest.fixture
def fresh() -> Callable[..., Base]:
    """The base of an experiment, loaded anew."""

    def make(experiment: Experiment, dtype: torch.dtype = torch.float32) -> Base:
        return load_base(experiment.model, None, dtype, "cpu", experiment.machine.cache_dir)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are fastest on one thread, whoever else is at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
