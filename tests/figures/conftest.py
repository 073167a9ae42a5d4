"""Studies with known answers, read, analysed and drawn once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from olora_bench.figures import Captioned, LeftOut, study_figures
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed
from tests.figures.planted_studies import write

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@dataclass(frozen=True)
class Book:
    """A study's figures by name, what was left out, and what they were drawn from."""

    found: Analysed
    shown: dict[str, Captioned]
    left_out: dict[str, str]


@pytest.fixture(scope="session")
def wide_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the studies of `planted_studies`."""
    root = tmp_path_factory.mktemp("wide")
    write(root)
    return root


@pytest.fixture(scope="session")
def book(wide_root: Path) -> Callable[[str], Book]:
    """A study by name: planted, searched, broken (committed), or paper, controls, ratios (made here)."""
    known: dict[str, Book] = {}

    def draw(name: str) -> Book:
        if name not in known:
            found = analysed(Home(SYNTHETIC if (SYNTHETIC / name).is_dir() else wide_root, name))
            drawn = list(study_figures(found.frames, found.tables))
            shown = {one.name: one for one in drawn if isinstance(one, Captioned)}
            known[name] = Book(found, shown, {one.name: one.reason for one in drawn if isinstance(one, LeftOut)})
        return known[name]

    return draw
