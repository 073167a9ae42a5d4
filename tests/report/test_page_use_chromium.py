"""The report's page in a real browser: what it does when it is used."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from pathlib import Path

import pytest
from page_big_study import write_big_study
from page_browser import PROGRAM, Browser, OpenPage
from page_controls import canvas, change, click, column, number
from page_files import page_file

from olora_bench.report import table_files
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium in PATH: the page is tested without a browser only (test_page.py)")

SLOWEST_DRAWING_MS = 100
LARGEST_PAGE_BYTES = 15_000_000


@pytest.mark.parametrize("table, first", [
    ("grid", ["benchmark", "difference", "low", "high", "verdict"]),
    ("verdicts", ["contrast", "difference", "low", "high", "loss", "loss low", "loss high", "verdict"]),
    ("losses", ["measure", "difference", "low", "high", "verdict"]),
    ("learning_rates", ["model", "rank", "setting", "arm", "lr"]),
])  # fmt: skip
def test_what_came_out_stands_first(page: OpenPage, table: str, first: list[str]) -> None:
    tab = page("planted")
    tab.evaluate(f"document.querySelector('#table-{table}').open = true")
    tab.settle()
    headings = tab.evaluate(f"[...document.querySelectorAll('#table-{table} th button')].map(b => b.textContent)")
    assert headings[: len(first)] == first


@pytest.mark.parametrize("measure, right", [("grid", 1), ("losses", -1), ("convergence", 1)])
def test_cell_by_cell_right_of_the_line_favours_the_arm(page: OpenPage, measure: str, right: int) -> None:
    tab = page("planted")
    change(tab, "#forest-measure", measure)
    texts = tab.evaluate("[...document.querySelectorAll('#forest svg text')].map(t => t.textContent)")
    assert {"← favours lora", "favours olora →"} <= set(texts)
    said = tab.evaluate(
        """(z => [...document.querySelectorAll('#forest svg g')].filter(g => g.querySelector('circle')).map(g =>
        [Number(g.querySelector('circle').getAttribute('cx')) - z, g.querySelector('title').textContent]))(
        Number(document.querySelector('#forest svg > line').getAttribute('x1')))"""
    )
    values = [(place, number(re.search(r": ([−+]?[\d.]+)", words)[1])) for place, words in said]  # type: ignore[index]
    zero = 1.0 if measure == "convergence" else 0.0
    assert values and all((place > 0.01) == (right * (value - zero) > 0) for place, value in values)


def test_tables_sort_by_mouse_and_keyboard_and_say_so(page: OpenPage) -> None:
    tab = page("planted")
    as_they_come = column(tab, "grid", "difference")
    header = "[...document.querySelectorAll('#table-grid th button')].find(b => b.textContent === 'difference')"
    tab.evaluate(f"{header}.click()")
    values = [number(text) for text in column(tab, "grid", "difference")]
    assert values == sorted(values) and len(values) == len(as_they_come) == 12
    assert tab.evaluate(f"{header}.closest('th').getAttribute('aria-sort')") == "ascending"
    tab.evaluate(f"{header}.focus()")
    tab.key("Enter")
    values = [number(text) for text in column(tab, "grid", "difference")]
    assert values == sorted(values, reverse=True)
    assert tab.evaluate(f"{header}.closest('th').getAttribute('aria-sort')") == "descending"
    low = "[...document.querySelectorAll('#table-grid th button')].find(b => b.textContent === 'low')"
    for _ in range(2):
        tab.evaluate(f"{low}.click()")
        shown = column(tab, "grid", "low")
        assert shown[-1] == "–" and shown[0] != "–", "what is not known comes last either way"


def test_tables_filter_by_words_and_by_run(page: OpenPage, studies: dict[str, tuple[Analysed, Path]]) -> None:
    tab = page("planted")
    change(tab, "#table-grid input[type=search]", "syn_b piqa")
    assert column(tab, "grid", "model") == ["syn_b"] and column(tab, "grid", "difference") == ["+22.5"]
    assert tab.evaluate("document.querySelector('#table-grid [role=status]').textContent") == "1 of 12 rows"
    runs = studies["planted"][0].frames.runs
    run = runs[(runs["arm"] == "olora_plus")]["train_id"].iloc[0]
    change(tab, "#table-grid input[type=search]", run)
    assert set(column(tab, "grid", "contrast")) == {"olora_plus vs olora"}
    change(tab, "#table-grid input[type=search]", "")
    assert len(column(tab, "grid", "model")) == 12


def test_a_row_leads_to_its_runs_and_a_run_to_its_record(page: OpenPage, studies: dict[str, tuple[Analysed, Path]]) -> None:
    tab = page("planted")
    click(tab, "#table-grid td.runs-cell button")
    listed = tab.evaluate("[...document.querySelectorAll('#table-grid .runs-list button')].map(b => b.textContent)")
    cells = studies["planted"][0].tables["cells"]
    assert listed == cells[cells["primary"]]["runs"].iloc[0].split()
    click(tab, "#table-grid .runs-list button")
    assert tab.evaluate("document.querySelector('#run').open")
    assert listed[0] in tab.evaluate("document.querySelector('#run').textContent")
    assert tab.evaluate("document.querySelector('#run a').getAttribute('href')") == f"runs/{listed[0]}.html"
    click(tab, "#run-body button")
    assert canvas(tab)["lines"] == 3, "its seed, all arms"
    assert (studies["planted"][1].parent / "runs" / f"{listed[0]}.html").exists()


def test_a_saved_table_is_the_reports_file(page: OpenPage, studies: dict[str, tuple[Analysed, Path]]) -> None:
    tab = page("broken")
    files = table_files(studies["broken"][0].tables)
    tab.evaluate(
        """window.saved = {}; HTMLAnchorElement.prototype.click = function () { window.last = [this.download, this.href]; };
        document.querySelectorAll('details.table').forEach(d => d.open = true)"""
    )
    tab.settle()
    names = tab.evaluate("[...document.querySelectorAll('details.table')].map(d => d.id.replace('table-', ''))")
    assert {"grid", "not_done", "costs", "runs", "pairs"} <= set(names)
    tab.send("Page.setBypassCSP", enabled=True)
    read = """(async () => { window.parts = []; const original = Blob; window.Blob = function (parts, options) { window.parts = parts;
        return new original(parts, options); }; document.querySelector('#table-%s .controls button').click(); window.Blob = original;
        return [window.last[0], window.parts.join('')]; })()"""
    for name in names:
        file, content = tab.evaluate(read % name)
        assert file == f"{name}.csv"
        if file in files:
            assert content.encode() == files[file]


def test_curves_are_switched_smoothed_and_laid_over_other_axes(page: OpenPage) -> None:
    tab = page("planted")
    first = canvas(tab)
    assert first["lines"] == 18 and (first["x0"], first["x1"]) == (0, 40)
    chips = "document.querySelector('#{}').children"
    tab.evaluate(chips.format("c-arms") + "[1].click()")
    assert canvas(tab)["lines"] == 12
    tab.evaluate(chips.format("c-seeds") + "[0].click()")
    assert canvas(tab)["lines"] == 10
    assert tab.evaluate(chips.format("c-seeds") + "[0].getAttribute('aria-pressed')") == "false"
    change(tab, "#c-x", 1)
    assert canvas(tab)["x1"] == 4000
    change(tab, "#c-x", 2)
    assert canvas(tab)["x1"] == 100
    change(tab, "#c-logx", True)
    assert canvas(tab)["x0"] == 5, "the first reading after 0 seconds"
    change(tab, "#c-logx", False)
    change(tab, "#c-series", "train")
    rough = canvas(tab)
    change(tab, "#c-smooth", 10)
    change(tab, "#c-x", 0)
    assert canvas(tab)["y1"] <= rough["y1"] and tab.evaluate("document.querySelector('#c-smooth-out').textContent") == "21 points"
    assert "armsoff=olora" in tab.evaluate("location.hash") and "series=train" in tab.evaluate("location.hash")
    change(tab, "#c-logy", True)
    assert canvas(tab)["lines"] == 10


def test_a_view_can_be_passed_on_by_its_address(page: OpenPage) -> None:
    tab = page("planted", "#curves&series=tune&x=tokens&logy=1&armsoff=lora&seedsoff=0%2B1&smooth=3")
    shown = canvas(tab)
    assert shown["lines"] == 8 and shown["x1"] == 4000
    assert tab.evaluate("document.querySelector('#c-logy').checked && document.querySelector('#c-series').value === 'tune'")
    there = "Math.abs(document.querySelector('#curves').getBoundingClientRect().top) < 120"
    assert any(tab.evaluate(there) or tab.settle() for _ in range(20)), "and it scrolls there"


def test_curves_zoom_by_drag_buttons_and_keyboard(page: OpenPage) -> None:
    tab = page("planted")
    whole = canvas(tab)
    tab.evaluate(
        "document.documentElement.style.scrollBehavior = 'auto'; document.querySelector('#c-canvas').scrollIntoView({block: 'center'})"
    )
    tab.settle()
    box = tab.evaluate("(r => [r.left, r.top, r.width, r.height])(document.querySelector('#c-canvas').getBoundingClientRect())")
    left, top, width, height = box
    tab.drag(left + width * 0.3, top + height * 0.2, left + width * 0.6, top + height * 0.7)
    near = canvas(tab)
    assert whole["x0"] < near["x0"] < near["x1"] < whole["x1"] and whole["y0"] < near["y0"] < near["y1"] < whole["y1"]
    click(tab, "[data-zoom=reset]")
    assert canvas(tab) | {"drawMs": 0} == whole | {"drawMs": 0}
    click(tab, "[data-zoom=in]")
    nearer = canvas(tab)
    assert nearer["x1"] - nearer["x0"] < whole["x1"] - whole["x0"]
    tab.evaluate("document.querySelector('#c-canvas').focus()")
    tab.key("ArrowRight")
    assert canvas(tab)["x0"] > nearer["x0"]
    tab.key("0")
    assert canvas(tab)["x0"] == whole["x0"]
    tab.key("+")
    assert canvas(tab)["x0"] > whole["x0"]


def test_the_keyboard_reaches_everything_with_a_visible_focus(page: OpenPage) -> None:
    tab = page("planted")
    tab.key("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left >= 0"), "shown once it has the focus"
    reached = []
    for _ in range(60):
        tab.key("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.textContent"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", reached[-1]
    assert {"theme", "forest-measure", "c-cell", "c-smooth", "c-canvas", "chip"} <= set(reached)


def test_the_theme_follows_the_system_until_it_is_switched(page: OpenPage) -> None:
    tab = page("planted")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(ground)
    tab.emulate(dark=True)
    dark = tab.evaluate(ground)
    line = "document.querySelector('#c-arms line').getAttribute('stroke')"
    tab.settle()
    assert light != dark and tab.evaluate(line) == "#C4C8CE"
    click(tab, "#theme")
    assert tab.evaluate(ground) == light and tab.evaluate(line) == "#4A4A4A"
    click(tab, "#theme")
    assert tab.evaluate(ground) == dark
    tab.evaluate("localStorage.clear()")


def test_learning_rates_show_optimum_edge_and_divergence(page: OpenPage) -> None:
    tab = page("searched")
    assert tab.evaluate("document.querySelector('#r-plot').dataset.points") == "7"
    assert tab.evaluate("document.querySelectorAll('#r-plot circle[r=\"9\"]').length") == 2 and tab.evaluate(
        "document.querySelectorAll('#r-plot .beyond').length"
    ) == 1  # fmt: skip
    note = "document.querySelector('#r-note').textContent"
    assert "lora 1e-3, olora 3.16e-4" in tab.evaluate(note)
    change(tab, "#r-cell", 1)
    assert "olora 3.16e-3 (at an edge of what was tried)" in tab.evaluate(note)
    change(tab, "#r-metric", "score")
    assert "score, percent" in tab.evaluate("document.querySelector('#r-plot svg').textContent")


def test_what_is_beyond_the_axis_stands_at_its_rate(page: OpenPage) -> None:
    tab = page("searched")
    places = tab.evaluate(
        """(() => { const svg = document.querySelector('#r-plot svg'), at = n => Number(n.getAttribute('transform').match(/\\((\\S+)/)[1]);
        const ticks = [...svg.querySelectorAll('text[text-anchor=middle]')].map(t => Number(t.getAttribute('x')));
        return [...svg.querySelectorAll('.beyond')].map(n => Math.min(...ticks.map(x => Math.abs(x - at(n))))); })()"""
    )
    assert places and max(places) < 0.01


def test_the_best_rates_curves_hold_fresh_seeds_alone(page: OpenPage, studies: dict[str, tuple[Analysed, Path]]) -> None:
    """The run that chose a rate is of another seed than those that report it, and not every arm has one there."""
    runs = studies["whole"][0].frames.runs
    tuning = set(runs[runs["roles"] == "tuning"]["seed"])
    tab = page("whole")
    seeds = "[...document.querySelector('#c-seeds').children].map(b => Number(b.textContent.replace('seed ', '')))"
    assert tab.evaluate("document.querySelector('#c-lr').value") == "best"
    assert tuning and not tuning & set(tab.evaluate(seeds))
    change(tab, "#c-lr", "all")
    assert tuning & set(tab.evaluate(seeds))


@pytest.mark.slow
def test_six_hundred_runs_are_small_and_smooth(tab: Browser, tmp_path: Path) -> None:
    assert write_big_study(tmp_path / "results") == 600
    begun = time.perf_counter()
    found = dataclasses.replace(analysed(Home(tmp_path / "results", "big")), folder=tmp_path / "report")
    table_files(found.tables)
    path = page_file(found)
    seconds = time.perf_counter() - begun
    assert path.stat().st_size < LARGEST_PAGE_BYTES
    tab.emulate()
    tab.open(path)
    ready = float(tab.evaluate("document.documentElement.dataset.ready"))
    tab.open(path, "#curves&cell=-1&lr=all&series=train")
    shown = canvas(tab)
    assert shown["lines"] == 600
    drawn = []
    for step in ("in", "left", "right", "out", "reset"):
        click(tab, f"[data-zoom={step}]")
        drawn.append(canvas(tab)["drawMs"])
    weight = path.stat().st_size / 1e6
    told = f"tables and page {seconds:.1f} s, {weight:.1f} MB, ready after {ready:.0f} ms, 600 curves in {max(drawn):.0f} ms"
    print(told)
    assert seconds < 20 and ready < 3000 and max(drawn) < SLOWEST_DRAWING_MS, f"{told} on {os.cpu_count()} cores"
