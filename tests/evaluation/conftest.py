from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import FAMILIES, TinyBase, tiny_base
from tiny_rows import SIX, write_benchmarks


@pytest.fixture(scope="session")
def bases() -> dict[str, TinyBase]:
    return {family: tiny_base(family) for family in FAMILIES}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All six benchmarks, 4 train and 10 scored rows each: asset key -> folder."""
    import datasets

    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    return write_benchmarks(tmp_path_factory.mktemp("rows"), SIX, train=4, report=10)
