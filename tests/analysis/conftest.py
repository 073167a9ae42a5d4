"""The committed synthetic study, loaded once a session; small frames of one comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from olora_bench.analysis import StudyFrames, Tables, analyse, load_study
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.fixture(scope="session")
def synthetic() -> Callable[[str], tuple[StudyFrames, Tables]]:
    """A planted study by name: its frames and tables."""
    known: dict[str, tuple[StudyFrames, Tables]] = {}

    def load(name: str) -> tuple[StudyFrames, Tables]:
        if name not in known:
            manifest = read_manifest(Home(SYNTHETIC, name))
            assert manifest is not None
            frames = load_study(Store(SYNTHETIC), manifest)
            known[name] = frames, analyse(frames, np.random.default_rng(0))
        return known[name]

    return load
