"""The page of a running study in a real browser; `study/test_watch.py` fetches it over HTTP where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from page_browser import PROGRAM, Browser, browser

from olora_bench.report.watch_page import Progress, Watched, WatchedRun, trouble_page, watch_page
from olora_bench.study.watch import Pages, _Server

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium in PATH: the page is fetched without a browser only (test_watch.py)")

STEPS = [float(step) for step in range(0, 400, 4)]
FALLING = {part: (STEPS, [2.5 + shift + 3 / (1 + step / 40) for step in STEPS]) for part, shift in (("train", 0.0), ("report", 0.1))}
EVIL = "<img src=x onerror=document.title='evil'><script>document.title='evil'</script>"
STUDY = Watched(
    study="little",
    title="a tiny study of two arms",
    protocol="shared_lr",
    arms=("lora", "olora"),
    left="about 3m12s left by 2 workers",
    look=("Look 1 of 2, at 6 seeds a model is asked whether olora and lora differ; 7 of its 12 runs are still to come.",),
    notes=("a note",),
    runs=[
        WatchedRun("a" * 16, "tiny lora r4 lr 1e-3 seed 0", "lora", "done", loss=2.5, curve=FALLING),
        WatchedRun("b" * 16, "tiny olora r4 lr 1e-3 seed 0", "olora", "running", where="process 12 on here", since_s=70.0,
                   progress=Progress("training", 396, 1000.0, 75.0), curve=FALLING),
        WatchedRun("c" * 16, "tiny olora r4 lr 1e-3 seed 1", "olora", "failed", reason=EVIL),
    ],
)  # fmt: skip


class Planted(Pages):
    """Pages of a state that a test sets."""

    def __init__(self) -> None:
        self.page = watch_page(STUDY)

    def live(self) -> bytes:
        return self.page


@pytest.fixture
def pages() -> Iterator[tuple[Planted, str]]:
    planted = Planted()
    with _Server(0, planted) as serves:
        thread = threading.Thread(target=serves.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield planted, f"http://127.0.0.1:{serves.server_address[1]}/"
        finally:
            serves.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def waits(tab: Browser, condition: str) -> bool:
    """Whether a JavaScript condition comes true within 20 seconds; the page may load itself anew meanwhile."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if tab.evaluate(condition):
                return True
        except AssertionError:
            continue
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_its_window_and_asks_nobody_else(tab: Browser, pages: tuple[Planted, str], width: int, dark: bool, tmp_path: Path) -> None:
    tab.errors.clear()
    tab.requests.clear()
    tab.emulate(dark=dark)
    tab.open(pages[1], width=width)
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert tab.evaluate("[...document.querySelectorAll('.charts svg')].every(s => s.getBoundingClientRect().right <= innerWidth)")
    assert tab.evaluate("document.querySelectorAll('.charts svg').length") == 2
    sizes = tab.evaluate("[...document.querySelectorAll('.charts text')].map(t => t.getBoundingClientRect().height)")
    assert min(sizes) > 9, "labels of charts are legible"
    strokes = tab.evaluate("[...document.querySelectorAll('.charts figure:first-child polyline')].map(l => getComputedStyle(l).stroke)")
    assert len(set(strokes)) == 2, "arms have colours of their own"
    assert all(url.startswith(pages[1]) for url in tab.requests) and tab.errors == []


def test_what_changes_is_shown_without_a_reload(tab: Browser, pages: tuple[Planted, str]) -> None:
    planted, address = pages
    tab.open(address)
    tab.evaluate("window.mark = 1")
    done = [replace(run, state="done", loss=2.25) if run.state == "running" else run for run in STUDY.runs]
    planted.page = watch_page(replace(STUDY, runs=done))
    assert waits(tab, "document.title.startsWith('2 of 3')")
    assert tab.evaluate("window.mark") == 1
    assert "No worker is at it now." in tab.evaluate("document.querySelector('#live').textContent")


def test_it_asks_on_while_nothing_answers_and_when_the_study_cannot_be_read(tab: Browser, pages: tuple[Planted, str]) -> None:
    """A restart of the watch, or a study that is edited: the page says so, and is itself again afterwards."""
    planted, address = pages
    tab.open(address)
    planted.live = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    assert waits(tab, "!document.querySelector('#lost').hidden")
    assert "This page asks on." in tab.evaluate("document.querySelector('#lost').textContent")
    planted.live = lambda: trouble_page("little", "study.contrasts is missing")  # type: ignore[method-assign]
    assert waits(tab, "document.body && document.body.textContent.includes('study.contrasts is missing')")
    planted.live = lambda: watch_page(STUDY)  # type: ignore[method-assign]
    assert waits(tab, "document.title.startsWith('1 of 3')")
    assert tab.evaluate("document.querySelector('#lost').hidden")


def test_nothing_that_a_record_holds_is_executed(tab: Browser, pages: tuple[Planted, str]) -> None:
    tab.open(pages[1])
    assert tab.evaluate("document.querySelectorAll('#live img, #live script').length") == 0
    assert tab.evaluate("document.title") == "1 of 3 · little"
    assert tab.evaluate("[...document.querySelectorAll('td.long')].some(d => d.textContent.includes('<img src=x'))")
