"""The report's page in a real browser: what it draws, and what it does when it is used."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_big_study import write_big_study
from page_browser import PROGRAM, Browser, browser
from page_controls import canvas, change, click, column
from test_page import BAD
from test_page import change as change_manifest

from olora_bench.report import table_files
from olora_bench.report.arm_styles import arm_styles
from olora_bench.study.report import Analysed, analysed, write_page

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium in PATH: the page is tested without a browser only (test_page.py)")

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
STUDIES = ("planted", "searched", "broken", "whole")
SLOWEST_DRAWING_MS = 100
LARGEST_PAGE_BYTES = 15_000_000


def page_file(found: Analysed, *, run_pages: bool = False) -> Path:
    write_page(found, None, run_pages=run_pages)
    return found.folder / "index.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Analysed, Path]]:
    """Each planted study and its page."""
    found = {name: dataclasses.replace(analysed(SYNTHETIC, name), folder=tmp_path_factory.mktemp(name)) for name in STUDIES}
    return {name: (one, page_file(one, run_pages=True)) for name, one in found.items()}


@pytest.fixture
def page(tab: Browser, studies: dict[str, tuple[Analysed, Path]]) -> Iterator[Callable[..., Browser]]:
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


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", STUDIES)
def test_no_page_scrolls_sideways_or_clips_its_text(page: Callable[..., Browser], name: str, width: int, dark: bool) -> None:
    tab = page(name, width=width)
    tab.emulate(dark=dark)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.settle()
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    # Anything that reaches past the page's edge must lie in a box that scrolls.
    outside = tab.evaluate(
        """[...document.querySelectorAll('main *, header *, footer *')]
        .filter(n => n.getClientRects().length && !n.closest('.scroll, nav, .skip, pre, dialog'))
        .filter(n => n.getBoundingClientRect().right > innerWidth + 1).map(n => n.outerHTML.slice(0, 100))"""
    )
    assert outside == []
    cut = tab.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, li, button, .status, .pill, figcaption')]
        .filter(n => !n.closest('nav, .scroll') && n.getClientRects().length && getComputedStyle(n).display !== 'inline')
        .filter(n => n.scrollWidth > n.clientWidth + 1).map(n => n.outerHTML.slice(0, 100))"""
    )
    assert cut == []


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("width", [400, 1400])
def test_no_label_of_a_chart_lies_on_another(page: Callable[..., Browser], name: str, width: int) -> None:
    tab = page(name, width=width)
    for measure in tab.evaluate("[...document.querySelector('#forest-measure').options].map(o => o.value)"):
        change(tab, "#forest-measure", measure)
        overlaps = tab.evaluate(
            """[...document.querySelectorAll('svg.strip, #forest svg, #r-plot svg')].flatMap(s => {
            const texts = [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]).filter(([, b]) => b.width);
            const over = (x, y) => Math.min(x.right, y.right) - Math.max(x.left, y.left) > 1
              && Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top) > 3;
            return texts.flatMap(([a, x], i) => texts.slice(i + 1).filter(([, y]) => over(x, y)).map(([b]) => a + ' | ' + b)); })"""
        )
        assert overlaps == [], measure


@pytest.mark.parametrize("width", [400, 1400])
def test_every_part_can_be_reached_from_the_navigation(page: Callable[..., Browser], width: int) -> None:
    tab = page("searched", width=width)
    tab.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    links = "[...document.querySelectorAll('nav a')]"
    assert tab.evaluate(f"{links}.every(a => a.getBoundingClientRect().left >= 0 && a.getBoundingClientRect().right <= innerWidth)")
    for link in tab.evaluate(f"{links}.map(a => a.getAttribute('href'))"):
        click(tab, f"nav a[href='{link}']")
        below = tab.evaluate(f"document.querySelector('{link} h2').getBoundingClientRect().top")
        bar = tab.evaluate("document.querySelector('nav').getBoundingClientRect().bottom")
        height = tab.evaluate("innerHeight")
        assert bar <= below < height, f"{link}: the heading is behind the bar or out of sight"


@pytest.mark.parametrize("width", [400, 1400])
def test_the_forests_directions_meet_at_its_zero(page: Callable[..., Browser], width: int) -> None:
    tab = page("planted", width=width)
    middles = tab.evaluate(
        """[...document.querySelectorAll('.forest thead .ways')].map((w, k) => {
        const [left, right] = [...w.children].map(n => n.getBoundingClientRect());
        const zero = document.querySelectorAll('.forest tbody tr:not(.group)')[0].querySelectorAll('.zero')[k].getBoundingClientRect();
        return [left.right, zero.left, right.left]; })"""
    )
    assert len(middles) == 2 and all(left <= zero <= right for left, zero, right in middles)


def test_zero_stays_in_the_middle_whatever_the_width(page: Callable[..., Browser]) -> None:
    for width in (400, 700, 1400):
        tab = page("planted", width=width)
        places = tab.evaluate(
            """[...document.querySelectorAll('.forest .row')].filter(s => s.querySelector('.zero')).map(s => {
            const box = s.getBoundingClientRect(), zero = s.querySelector('.zero').getBoundingClientRect();
            return (zero.left + zero.width / 2 - box.left) / box.width; })"""
        )
        assert len(places) == 4 and places == pytest.approx([0.5] * 4, abs=0.01)


def test_on_a_narrow_screen_the_benchmark_stays_while_a_table_scrolls(page: Callable[..., Browser]) -> None:
    tab = page("planted", width=400)
    place = "document.querySelector('#table-grid tbody td').getBoundingClientRect().left"
    before = tab.evaluate(place)
    tab.evaluate("document.querySelector('#table-grid .scroll').scrollLeft = 300")
    tab.settle()
    assert tab.evaluate("document.querySelector('#table-grid .scroll').scrollLeft") == 300
    assert tab.evaluate(place) == pytest.approx(before, abs=1)
    assert tab.evaluate("document.querySelector('#table-grid tbody .under').textContent") == "olora vs lora, lr 1e-3"


@pytest.mark.parametrize("table, first", [
    ("grid", ["benchmark", "difference", "low", "high", "verdict"]),
    ("verdicts", ["contrast", "difference", "low", "high", "loss", "loss low", "loss high", "verdict"]),
    ("losses", ["measure", "difference", "low", "high", "verdict"]),
    ("learning_rates", ["model", "rank", "setting", "arm", "lr"]),
])  # fmt: skip
def test_what_came_out_stands_first(page: Callable[..., Browser], table: str, first: list[str]) -> None:
    tab = page("planted")
    tab.evaluate(f"document.querySelector('#table-{table}').open = true")
    tab.settle()
    headings = tab.evaluate(f"[...document.querySelectorAll('#table-{table} th button')].map(b => b.textContent)")
    assert headings[: len(first)] == first


@pytest.mark.parametrize("measure, right", [("grid", 1), ("losses", -1), ("convergence", 1)])
def test_cell_by_cell_right_of_the_line_favours_the_arm(page: Callable[..., Browser], measure: str, right: int) -> None:
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


def test_tables_sort_by_mouse_and_keyboard_and_say_so(page: Callable[..., Browser]) -> None:
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


def test_tables_filter_by_words_and_by_run(page: Callable[..., Browser], studies: dict[str, tuple[Analysed, Path]]) -> None:
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


def test_a_row_leads_to_its_runs_and_a_run_to_its_record(page: Callable[..., Browser], studies: dict[str, tuple[Analysed, Path]]) -> None:
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


def test_a_saved_table_is_the_reports_file(page: Callable[..., Browser], studies: dict[str, tuple[Analysed, Path]]) -> None:
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


def test_curves_are_switched_smoothed_and_laid_over_other_axes(page: Callable[..., Browser]) -> None:
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


def test_a_view_can_be_passed_on_by_its_address(page: Callable[..., Browser]) -> None:
    tab = page("planted", "#curves&series=tune&x=tokens&logy=1&armsoff=lora&seedsoff=0%2B1&smooth=3")
    shown = canvas(tab)
    assert shown["lines"] == 8 and shown["x1"] == 4000
    assert tab.evaluate("document.querySelector('#c-logy').checked && document.querySelector('#c-series').value === 'tune'")
    there = "Math.abs(document.querySelector('#curves').getBoundingClientRect().top) < 120"
    assert any(tab.evaluate(there) or tab.settle() for _ in range(20)), "and it scrolls there"


def test_curves_zoom_by_drag_buttons_and_keyboard(page: Callable[..., Browser]) -> None:
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


def test_charts_have_words_for_those_who_do_not_see_them(page: Callable[..., Browser]) -> None:
    tab = page("broken")
    label = tab.evaluate("document.querySelector('#c-canvas').getAttribute('aria-label')")
    assert label.startswith("11 loss curves of lora, olora") and "nats" in label
    tab.evaluate("document.querySelector('#c-alt').open = true")
    tab.settle()
    assert tab.evaluate("document.querySelectorAll('#c-alt tbody tr').length") == 11
    assert "Cross: diverged (1)" in tab.evaluate("document.querySelector('#c-caption').textContent")
    unnamed = tab.evaluate(
        """[...document.querySelectorAll('button, select, input, [role=region], [role=img]')].filter(n => n.getClientRects().length
        && !(n.getAttribute('aria-label') || n.textContent.trim() || n.closest('label'))).map(n => n.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_the_keyboard_reaches_everything_with_a_visible_focus(page: Callable[..., Browser]) -> None:
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


def test_the_theme_follows_the_system_until_it_is_switched(page: Callable[..., Browser]) -> None:
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


def test_learning_rates_show_optimum_edge_and_divergence(page: Callable[..., Browser]) -> None:
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


def test_what_is_beyond_the_axis_stands_at_its_rate(page: Callable[..., Browser]) -> None:
    tab = page("searched")
    places = tab.evaluate(
        """(() => { const svg = document.querySelector('#r-plot svg'), at = n => Number(n.getAttribute('transform').match(/\\((\\S+)/)[1]);
        const ticks = [...svg.querySelectorAll('text[text-anchor=middle]')].map(t => Number(t.getAttribute('x')));
        return [...svg.querySelectorAll('.beyond')].map(n => Math.min(...ticks.map(x => Math.abs(x - at(n))))); })()"""
    )
    assert places and max(places) < 0.01


def test_an_arm_has_the_marker_of_the_figures(page: Callable[..., Browser]) -> None:
    tab = page("searched")
    drawn = set(tab.evaluate("[...document.querySelectorAll('#r-plot .mark')].map(n => n.getAttribute('d'))"))
    assert drawn == {style.svg_marker for style in arm_styles(["lora", "olora"]).values()}


def test_the_best_rates_curves_hold_fresh_seeds_alone(page: Callable[..., Browser], studies: dict[str, tuple[Analysed, Path]]) -> None:
    """The run that chose a rate is of another seed than those that report it, and not every arm has one there."""
    runs = studies["whole"][0].frames.runs
    tuning = set(runs[runs["roles"] == "tuning"]["seed"])
    tab = page("whole")
    seeds = "[...document.querySelector('#c-seeds').children].map(b => Number(b.textContent.replace('seed ', '')))"
    assert tab.evaluate("document.querySelector('#c-lr').value") == "best"
    assert tuning and not tuning & set(tab.evaluate(seeds))
    change(tab, "#c-lr", "all")
    assert tuning & set(tab.evaluate(seeds))


def test_a_table_that_goes_on_at_the_right_says_so(page: Callable[..., Browser]) -> None:
    tab = page("planted", width=1400)
    tab.evaluate("document.querySelectorAll('details.table').forEach(d => d.open = true)")
    tab.settle()
    wrong = tab.evaluate(
        """[...document.querySelectorAll('#tables .scroll')].filter(s => s.previousElementSibling.classList.contains('hint')
        && s.previousElementSibling.hidden !== (s.scrollWidth <= s.clientWidth + 1)).map(s => s.ariaLabel)"""
    )
    shown = tab.evaluate("[...document.querySelectorAll('.hint')].map(h => h.hidden)")
    assert wrong == [] and set(shown) == {True, False}


def test_no_column_out_of_sight_makes_a_row_tall(page: Callable[..., Browser]) -> None:
    tab = page("broken", width=1400)
    tab.evaluate("document.querySelectorAll('details.table').forEach(d => d.open = true)")
    tab.settle()
    assert tab.evaluate("Math.max(...[...document.querySelectorAll('#tables tbody tr')].map(r => r.getBoundingClientRect().height))") < 80


def test_on_a_narrow_screen_the_verdict_is_in_sight(page: Callable[..., Browser]) -> None:
    tab = page("planted", width=400)
    inside = tab.evaluate(
        """[...document.querySelectorAll('#table-grid tbody .pill')].every(p => p.getBoundingClientRect().right
        <= document.querySelector('#table-grid .scroll').getBoundingClientRect().right)"""
    )
    cards = tab.evaluate(
        """[...document.querySelectorAll('.forest .pill')].filter(p =>
        p.getBoundingClientRect().right > p.closest('table').getBoundingClientRect().right + 1).map(p => p.textContent)"""
    )
    assert inside and cards == [], "no pill sticks out either"


def test_the_forest_has_a_row_a_cell(page: Callable[..., Browser]) -> None:
    tab = page("planted")
    assert tab.evaluate("document.querySelector('#forest').dataset.rows") == "8"
    assert "2 better, 6 unresolved" in tab.evaluate("document.querySelector('#forest-note').textContent")
    change(tab, "#forest-measure", "convergence")
    assert "1 faster, 1 unresolved" in tab.evaluate("document.querySelector('#forest-note').textContent")


@pytest.mark.parametrize("how", BAD)
def test_a_study_with_little_in_it_breaks_nothing(tab: Browser, tmp_path: Path, how: str) -> None:
    root = shutil.copytree(SYNTHETIC, tmp_path / "results")
    change_manifest(root, BAD[how][0], "planted")
    path = page_file(dataclasses.replace(analysed(root, "planted"), folder=tmp_path / "out"))
    tab.emulate()
    tab.errors.clear()
    tab.open(path, width=400)
    shown = json.loads(tab.evaluate("JSON.stringify({...document.querySelector('#c-canvas').dataset})"))
    assert tab.errors == [] and tab.evaluate("Number(document.documentElement.dataset.ready) > 0")
    assert (int(shown["lines"]) == 0) == (how == "no record")
    assert "NaN" not in tab.evaluate("document.querySelector('main').innerText")
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_run_pages_stand_alone(tab: Browser, studies: dict[str, tuple[Analysed, Path]]) -> None:
    for name in STUDIES:
        for path in sorted((studies[name][1].parent / "runs").glob("*.html"))[:6]:
            tab.requests.clear()
            tab.open(path, width=400)
            assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
            assert [url for url in tab.requests if not url.startswith(("file:", "about:"))] == [] and tab.errors == []


def test_it_prints(page: Callable[..., Browser], tmp_path: Path) -> None:
    tab = page("planted")
    tab.emulate(dark=True)
    tab.pdf(tmp_path / "page.pdf")
    assert 2 <= (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") <= 20


@pytest.mark.slow
def test_six_hundred_runs_are_small_and_smooth(tab: Browser, tmp_path: Path) -> None:
    assert write_big_study(tmp_path / "results") == 600
    begun = time.perf_counter()
    found = dataclasses.replace(analysed(tmp_path / "results", "big"), folder=tmp_path / "report")
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
