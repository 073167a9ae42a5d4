"""The report's page in a real browser: how it is laid out and what it draws."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from page_browser import PROGRAM, Browser, OpenPage
from page_controls import change, click
from page_files import BAD, STUDIES, SYNTHETIC, page_file
from page_files import change as change_manifest

from olora_bench.report.arm_styles import arm_styles
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium in PATH: the page is tested without a browser only (test_page.py)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", STUDIES)
def test_no_page_scrolls_sideways_or_clips_its_text(page: OpenPage, name: str, width: int, dark: bool) -> None:
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
def test_no_label_of_a_chart_lies_on_another(page: OpenPage, name: str, width: int) -> None:
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
def test_every_part_can_be_reached_from_the_navigation(page: OpenPage, width: int) -> None:
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
def test_the_forests_directions_meet_at_its_zero(page: OpenPage, width: int) -> None:
    tab = page("planted", width=width)
    middles = tab.evaluate(
        """[...document.querySelectorAll('.forest thead .ways')].map((w, k) => {
        const [left, right] = [...w.children].map(n => n.getBoundingClientRect());
        const zero = document.querySelectorAll('.forest tbody tr:not(.group)')[0].querySelectorAll('.zero')[k].getBoundingClientRect();
        return [left.right, zero.left, right.left]; })"""
    )
    assert len(middles) == 2 and all(left <= zero <= right for left, zero, right in middles)


def test_zero_stays_in_the_middle_whatever_the_width(page: OpenPage) -> None:
    for width in (400, 700, 1400):
        tab = page("planted", width=width)
        places = tab.evaluate(
            """[...document.querySelectorAll('.forest .row')].filter(s => s.querySelector('.zero')).map(s => {
            const box = s.getBoundingClientRect(), zero = s.querySelector('.zero').getBoundingClientRect();
            return (zero.left + zero.width / 2 - box.left) / box.width; })"""
        )
        assert len(places) == 4 and places == pytest.approx([0.5] * 4, abs=0.01)


def test_on_a_narrow_screen_the_benchmark_stays_while_a_table_scrolls(page: OpenPage) -> None:
    tab = page("planted", width=400)
    place = "document.querySelector('#table-grid tbody td').getBoundingClientRect().left"
    before = tab.evaluate(place)
    tab.evaluate("document.querySelector('#table-grid .scroll').scrollLeft = 300")
    tab.settle()
    assert tab.evaluate("document.querySelector('#table-grid .scroll').scrollLeft") == 300
    assert tab.evaluate(place) == pytest.approx(before, abs=1)
    assert tab.evaluate("document.querySelector('#table-grid tbody .under').textContent") == "olora vs lora, lr 1e-3"


def test_charts_have_words_for_those_who_do_not_see_them(page: OpenPage) -> None:
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


def test_an_arm_has_the_marker_of_the_figures(page: OpenPage) -> None:
    tab = page("searched")
    drawn = set(tab.evaluate("[...document.querySelectorAll('#r-plot .mark')].map(n => n.getAttribute('d'))"))
    assert drawn == {style.svg_marker for style in arm_styles(["lora", "olora"]).values()}


def test_a_table_that_goes_on_at_the_right_says_so(page: OpenPage) -> None:
    tab = page("planted", width=1400)
    tab.evaluate("document.querySelectorAll('details.table').forEach(d => d.open = true)")
    tab.settle()
    wrong = tab.evaluate(
        """[...document.querySelectorAll('#tables .scroll')].filter(s => s.previousElementSibling.classList.contains('hint')
        && s.previousElementSibling.hidden !== (s.scrollWidth <= s.clientWidth + 1)).map(s => s.ariaLabel)"""
    )
    shown = tab.evaluate("[...document.querySelectorAll('.hint')].map(h => h.hidden)")
    assert wrong == [] and set(shown) == {True, False}


def test_no_column_out_of_sight_makes_a_row_tall(page: OpenPage) -> None:
    tab = page("broken", width=1400)
    tab.evaluate("document.querySelectorAll('details.table').forEach(d => d.open = true)")
    tab.settle()
    assert tab.evaluate("Math.max(...[...document.querySelectorAll('#tables tbody tr')].map(r => r.getBoundingClientRect().height))") < 80


def test_on_a_narrow_screen_the_verdict_is_in_sight(page: OpenPage) -> None:
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


def test_the_forest_has_a_row_a_cell(page: OpenPage) -> None:
    tab = page("planted")
    assert tab.evaluate("document.querySelector('#forest').dataset.rows") == "8"
    assert "2 better, 6 unresolved" in tab.evaluate("document.querySelector('#forest-note').textContent")
    change(tab, "#forest-measure", "convergence")
    assert "1 faster, 1 unresolved" in tab.evaluate("document.querySelector('#forest-note').textContent")


@pytest.mark.parametrize("how", BAD)
def test_a_study_with_little_in_it_breaks_nothing(tab: Browser, tmp_path: Path, how: str) -> None:
    root = shutil.copytree(SYNTHETIC, tmp_path / "results")
    change_manifest(root, BAD[how][0], "planted")
    path = page_file(dataclasses.replace(analysed(Home(root, "planted")), folder=tmp_path / "out"))
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


def test_it_prints(page: OpenPage, tmp_path: Path) -> None:
    tab = page("planted")
    tab.emulate(dark=True)
    tab.pdf(tmp_path / "page.pdf")
    assert 2 <= (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") <= 20
