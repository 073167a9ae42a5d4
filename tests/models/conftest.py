from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from olora_bench.config import Model, conf_dir
from olora_bench.models import Base, load_base


@pytest.fixture
def read_model() -> Callable[[str], Model]:
    """A model's YAML, checked."""

    def read(name: str) -> Model:
        return Model.model_validate(yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8")))

    return read


@pytest.fixture
def tiny(cache_dir: Path, read_model: Callable[[str], Model]) -> Callable[..., Base]:
    """A tiny base on the CPU, by name."""

    def load(name: str, dtype: torch.dtype = torch.float32) -> Base:
        return load_base(read_model(name), None, dtype, "cpu", cache_dir)

    return load


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models are fastest on one thread, whoever else is at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
