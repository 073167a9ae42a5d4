"""What all tests share: no network, no trace outside pytest's own temporary folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before any Hugging Face package is imported: a test never asks the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("HYDRA_FULL_ERROR", None)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One asset cache for the whole session: tiny models are built into it once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def machine(tmp_path: Path, cache_dir: Path) -> list[str]:
    """Overrides that keep a run inside temporary folders."""
    return [
        f"machine.results_dir={tmp_path / 'results'}",
        f"machine.cache_dir={cache_dir}",
        f"machine.wandb_dir={tmp_path / 'wandb'}",
        "machine.device=cpu",
        "machine.threads=2",
    ]


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What a test draws from torch without a seed of its own depends on no test before it: a failure comes again."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _hydra_is_clear() -> Iterator[None]:
    """Nor are folders of configs trusted that the test before named."""
    yield
    if (own := sys.modules.get("olora_bench.config.own_inits")) is not None:
        own._FOLDERS.clear()
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a module of the package in a fresh interpreter, in an empty folder."""

    def call(
        *arguments: str, module: str = "olora_bench", env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return call
