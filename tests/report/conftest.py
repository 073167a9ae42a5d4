"""The page in a browser: one browser and one set of planted pages for the tests of a process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_browser import Browser, OpenPage, browser
from page_files import STUDIES, SYNTHETIC, page_file

from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Analysed, Path]]:
    """Each planted study and its page."""
    found = {name: dataclasses.replace(analysed(Home(SYNTHETIC, name)), folder=tmp_path_factory.mktemp(name)) for name in STUDIES}
    return {name: (one, page_file(one, run_pages=True)) for name, one in found.items()}


@pytest.fixture
def page(tab: Browser, studies: dict[str, tuple[Analysed, Path]]) -> Iterator[OpenPage]:
    """Open a study's page; it must have asked for nothing and complained of nothing."""
    tab.emulate()
    tab.requests.clear()
    tab.errors.clear()

    def opened(name: str, fragment: str = "", width: int = 1400) -> Browser:
        tab.open(studies[name][1], fragment, width)
        assert tab.evaluate("Number(document.documentElement.dataset.ready) > 0"), tab.errors
        return tab

    yield opened
    assert tab.errors == []
    assert {url.split(":", 1)[0] for url in tab.requests} <= {"file", "blob", "about", "data"}, "nothing leaves the machine"
