from __future__ import annotations

from pathlib import Path

import pytest
from tiny_rows import SIX, write_benchmarks


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All six benchmarks, 12 train and 6 scored rows each: asset key -> folder."""
    return write_benchmarks(tmp_path_factory.mktemp("rows"), SIX)


@pytest.fixture(scope="session", autouse=True)
def _no_trace_in_the_home_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
