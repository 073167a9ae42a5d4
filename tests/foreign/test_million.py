"""A million items are read and judged within 20 s of one core and 2 GB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from lm_eval_logs import Log

from perf.measured import measured

STUDY = {"name": "large", "title": "t", "runs": "{arm}/seed{seed}", "contrasts": [{"arm": "a", "reference": "b"}]}


@pytest.mark.parametrize("items", [50, pytest.param(25_000, marks=pytest.mark.slow)])
def test_time_and_memory_of_many_items(items: int, tmp_path: Path) -> None:
    """Two arms, ten seeds, two tasks: as logs by the command, and as a study."""
    for arm in "ab":
        for seed in range(10):
            right = (np.random.default_rng([seed, ord(arm)]).random((2, items)) < 0.6).astype(int).tolist()
            Log({"one": right[0], "two": right[1]}).write(tmp_path / arm / f"seed{seed}")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    results = f"machine.results_dir={tmp_path / 'results'}"
    for words in (["olora_bench.judge", "a", "b"], ["olora_bench.study", "import", "study.yaml", results]):
        found = measured(*words, folder=tmp_path, codes=(0,))
        assert found["cpu_seconds"] < 20 and found["peak_bytes"] < 2e9
