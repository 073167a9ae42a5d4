"""Two sides of runs, made up: as answers, as frames, as the command says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from olora_bench.judge import main

ONE = {0: [1.0, 0, 1, 1, 0], 1: [1.0, 1, 0, 1, 0]}
HARD = {name: np.random.default_rng(len(name)).random(items) for name, items in (("piqa", 60), ("boolq", 90))}


def answers(seed: int, lead: float) -> dict[str, list[int]]:
    """A run's right answers: hard items are hard for every run."""
    rng = np.random.default_rng([seed, int(lead * 100)])
    return {name: (0.6 * hard + 0.4 * rng.random(len(hard)) < 0.6 + lead).astype(int).tolist() for name, hard in HARD.items()}


def frame(right: dict[int, list[float]], benchmark: str = "piqa") -> pd.DataFrame:
    """A frame of items: seed -> answers."""
    rows = [(seed, benchmark, f"i{place}", value) for seed, values in right.items() for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["seed", "benchmark", "item", "correct"])


def said(sides: tuple[Path, Path], *more: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What the command prints, or its error."""
    assert main([*map(str, sides), *more]) == code
    out = capsys.readouterr()
    return out.err if code else out.out
