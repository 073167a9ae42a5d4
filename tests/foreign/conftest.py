from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lm_eval_logs import Log
from two_sides import answers


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two folders of logs: `olora`, ahead by `lead`, and `lora`."""

    def write(*, seeds: int = 6, lead: float = 0.05, **log: object) -> tuple[Path, Path]:
        for arm, by in (("olora", lead), ("lora", 0.0)):
            for seed in range(seeds):
                Log(answers(seed, by), **log).write(tmp_path / arm / f"seed{seed}")  # type: ignore[arg-type]
        return tmp_path / "olora", tmp_path / "lora"

    return write
