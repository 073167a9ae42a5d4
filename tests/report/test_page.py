"""The report's page without a browser: what is in the file, and what is not."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_files import STUDIES, SYNTHETIC, Page, page_of, written

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import Scope
from olora_bench.analysis.outcome import Effect, Outcome, Verdict, outcomes
from olora_bench.report import table_files
from olora_bench.report.arm_styles import arm_styles
from olora_bench.report.origins import Origins
from olora_bench.report.page import _assets, _seeds, asset
from olora_bench.report.page_data import curve_data, thinned
from olora_bench.report.page_forest import twins
from olora_bench.report.page_svg import nice_ticks
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed
from olora_bench.words.comparisons import LOSS, SCORE, Measure, verdict_word

MEASURES = (SCORE, LOSS)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Analysed, Page]]:
    """All planted studies' pages."""
    return {name: written(name, tmp_path_factory.mktemp(name)) for name in STUDIES}


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_reaches_nothing_outside_of_it(pages: dict[str, tuple[Analysed, Page]], name: str) -> None:
    page = pages[name][1]
    links = [
        value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href", "action", "srcset", "data")
    ]
    assert links and all(link.startswith("#") for link in links)
    outside = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"'`]*", asset("page.js") + asset("page.css") + asset("page.html")))
    assert outside == {"http://www.w3.org/2000/svg"}, "a namespace, and nothing that is fetched"
    assert (
        "@import" not in page.text and "url(" not in page.text and not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    )
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    script = next(text for attributes, text in page.scripts if attributes["tag"] == "script" and "type" not in attributes)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy, "this script and no other may run"


@pytest.mark.parametrize("name", STUDIES)
def test_its_tables_are_the_reports_tables(pages: dict[str, tuple[Analysed, Page]], name: str) -> None:
    found, page = pages[name]
    carried = {table["name"]: table for table in page.data["tables"]}
    files = {file.removesuffix(".csv"): content for file, content in table_files(found.tables).items() if file.endswith(".csv")}
    assert files.keys() < carried.keys() and "runs" in carried
    assert all(carried[table]["csv"].encode() == content for table, content in files.items())
    for table in carried.values():
        rows = table["csv"].count("\n") - 1
        assert table["rows"] is None or len(table["rows"]) <= rows, table["name"]  # a text may hold a line's end
        header = table["csv"].split("\n", 1)[0].split(",")
        assert all(0 <= index < len(header) for index, _, _ in table["columns"])
    raw = {table for table, payload in carried.items() if payload["rows"] is None}
    assert {"pairs", "differences", "crossings", "run_measures"} <= raw, "and what they are made from"


def test_a_new_table_shows_up_by_itself(tmp_path: Path) -> None:
    found = analysed(Home(SYNTHETIC, "planted"))
    new = pd.DataFrame({"model": ["syn_a"], "half_life": [1.5], "runs": [found.frames.runs["train_id"].iloc[0]]})
    found = dataclasses.replace(found, tables={**found.tables, "half_lives": new}, folder=tmp_path)
    page = page_of(found)
    table = next(t for t in page.data["tables"] if t["name"] == "half_lives")
    assert table["title"] == "Half lives" and [heading for _, heading, _ in table["columns"]] == ["model", "half life"]


def test_every_row_leads_to_runs_of_the_study(pages: dict[str, tuple[Analysed, Page]]) -> None:
    for _, page in pages.values():
        ids = {run[0] for run in page.data["runs"]}
        named = [a["data-runs"].split() for _, a in page.tags if "data-runs" in a]
        assert named and all(set(runs) <= ids for runs in named)
        grid = next(t for t in page.data["tables"] if t["name"] == "grid")
        assert all(set(line.rsplit(",", 1)[1].split()) <= ids for line in grid["csv"].splitlines()[1:])


def test_the_headline_has_difference_interval_and_blocks(pages: dict[str, tuple[Analysed, Page]]) -> None:
    words = {name: " ".join(page.words) for name, (_, page) in pages.items()}
    assert (
        "Unresolved: olora is at +3.1 percentage points on average over benchmarks against lora "
        "(95% interval −1.2 to +7.5 over new seeds and new items, these models; 12 blocks of model and seed)." in words["planted"]
    )
    assert "olora has the higher mean in 3 of 8 cells (3 losses, 2 ties): inside the 1 to 4 wins" in words["planted"]
    assert "syn_b rank 8: at most 1.80 times as fast, unresolved" in words["planted"]
    assert "learning-rate search" in words["searched"] and "No verdict" in words["searched"]
    assert "1 of 10 pairs diverged" in words["broken"] and "No interval: 4 of at least 6 blocks." in words["broken"]
    assert all("nan" not in re.findall(r"\b\w+\b", text.lower()) for text in words.values())


@pytest.mark.parametrize("name", STUDIES)
def test_the_forest_has_a_row_a_comparison_with_its_verdict(pages: dict[str, tuple[Analysed, Page]], name: str) -> None:
    found, page = pages[name]
    shown = outcomes(found.tables["verdicts"])
    forest = page.text[page.text.find('<table class="forest') : page.text.find("</table>")]
    assert page.text.count('<table class="forest') == bool(forest) == any(one.loss.known for one in shown)
    for one in shown if forest else ():
        assert f'<th scope="row" class="name">{one.comparison.contrast}, ' in forest and verdict_word(one) in forest


@pytest.mark.parametrize("measure", MEASURES, ids=["score", "loss"])
def test_a_mark_right_of_the_middle_favours_the_arm(measure: Measure) -> None:
    score = Effect(1.0, 0.5, 2.0, 0.03, 0.5, 0.4, 0.9, 6, new_items=True)
    loss = Effect(0.1, 0.05, 0.2, 0.03, 0.05, 0.04, 0.09, 6, new_items=False)
    outcome = Outcome(
        Comparison("olora", "lora", "primary", "tuned", confirmatory=True, lr=None), Verdict.BETTER, (), by_loss=False, score=score,
        loss=loss, p=0.03, holm_over=1, margin=float("nan"), scope=Scope.ONE_MODEL, blocks_for=6, pairs_planned=6, pairs_missing=0,
        diverged=0, runs="",
    )  # fmt: skip
    tile = twins(outcome).split('<div><p class="eyebrow">')[1 + MEASURES.index(measure)]
    (place,) = map(float, re.findall(r'cx="([\d.]+)%"', tile))
    assert (place > 50) == (" olora</b>" in tile) == (measure is SCORE)
    assert f'x1="{50 + 50 * measure.sign * measure.of(outcome).low / measure.reach([outcome]):.2f}%"' in tile, "and the interval with it"


def test_an_interval_that_is_open_goes_to_the_edge_and_is_said() -> None:
    """Of the loss, whose axis is turned: what may be lower lies at the right."""
    loss = Effect(0.1, -math.inf, 0.2, 1.0, math.nan, math.nan, math.nan, 6, new_items=False)
    outcome = Outcome(
        Comparison("olora", "lora", "primary", "tuned", confirmatory=True, lr=None), Verdict.UNRESOLVED, (), by_loss=True, score=loss,
        loss=loss, p=1.0, holm_over=1, margin=float("nan"), scope=Scope.ONE_MODEL, blocks_for=6, pairs_planned=6, pairs_missing=0,
        diverged=0, runs="",
    )  # fmt: skip
    tile = twins(outcome).split('<div><p class="eyebrow">')[2]
    assert 'x1="100.00%"' in tile and "▶</text>" in tile and "◀" not in tile and "95% interval −∞ to +0.200" in tile


def test_score_and_loss_of_the_headline_have_equal_weight(pages: dict[str, tuple[Analysed, Page]]) -> None:
    card = pages["planted"][1].text.split('<div class="twins">')[1].split('<ul class="facts">')[0]
    assert card.count('<p class="big">') == 2 and "higher is better" in card and "lower is better" in card


def test_claims_that_are_not_tested_are_folded_and_counted(pages: dict[str, tuple[Analysed, Page]]) -> None:
    for found, page in pages.values():
        verdicts = list(found.tables["claims"]["verdict"])
        untested = verdicts.count("not tested here")
        open_ones, _, folded = page.text.partition('id="untested"><summary>')
        assert folded.startswith(f"{untested} claim") and folded.split("</details>")[0].count('<li class="claim') == untested
        assert open_ones.count('<li class="claim') == len(verdicts) - untested


def test_fresh_seeds_are_counted_apart_from_tuning_seeds(pages: dict[str, tuple[Analysed, Page]]) -> None:
    runs = pages["whole"][0].frames.runs
    tuning = set(runs[runs["roles"] == "tuning"]["seed"]) - set(runs[runs["roles"] != "tuning"]["seed"])
    assert tuning and f" and {len(tuning)} tuning seed" in _seeds(runs)
    unkept = pd.concat([runs, runs.head(1).assign(seed=99, roles="finalist")])
    assert _seeds(unkept) == _seeds(runs), "a finalist of a block that has kept none is in no comparison yet"
    assert _seeds(runs[runs["roles"] != "tuning"]) == f"{runs[runs['roles'] != 'tuning']['seed'].nunique()} seeds"


def test_an_assets_source_is_named_once_with_all_that_came_from_it() -> None:
    came = Origins(2, {}, [], assets={"packaged: a==1": {"benchmark:boolq": 2, "benchmark:piqa": 1}, "hub: b": {"model:m": 2}})
    shown = re.sub("<[^>]+>", " ", _assets(came))
    assert shown.count("packaged: a==1") == 1 and "benchmark:boolq, benchmark:piqa  (1 of 2 records)" in shown


def test_what_limits_the_tables_is_called_caveats(pages: dict[str, tuple[Analysed, Page]]) -> None:
    words = " ".join(pages["broken"][1].words)
    assert "Caveats" in words and "Mind" not in words


def test_claims_say_verdict_measurement_and_protocol(pages: dict[str, tuple[Analysed, Page]]) -> None:
    found, page = pages["planted"]
    words = " ".join(page.words)
    for claim in found.tables["claims"].to_dict("records"):
        assert claim["sentence"] in words and claim["figure"] in words and claim["verdict"] in words
    items = [a["class"] for tag, a in page.tags if tag == "li" and a.get("class", "").startswith("claim ")]
    verdicts = [f"claim {verdict.replace(' ', '-')}" for verdict in found.tables["claims"]["verdict"]]
    assert sorted(items) == sorted(verdicts) and "Protocol: shared learning rate." in words


def test_curves_are_what_the_records_hold(pages: dict[str, tuple[Analysed, Page]]) -> None:
    found, page = pages["planted"]
    axes, curves = page.curves["axes"], page.curves["curves"]
    assert set(curves) == set(found.frames.curves["train_id"])
    for train_id, group in found.frames.curves.groupby("train_id"):
        for name, column in (("train", "train_loss"), ("tune", "tune_loss"), ("report", "report_loss")):
            read = group.dropna(subset=[column])
            steps, tokens, seconds, losses = curves[train_id][name]
            for place, axis, tolerance in ((steps, "step", 0), (tokens, "tokens", 0), (seconds, "wall_s", 1e-3)):
                np.testing.assert_allclose(axes[place], read[axis], rtol=tolerance)
            np.testing.assert_allclose(losses, read[column], rtol=1e-4)


def test_a_long_curve_keeps_its_spikes_and_ends() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 159, 161, 5000):
        values = rng.normal(size=length)
        values[length // 3] = 50.0
        kept = thinned(values, 160)
        assert len(kept) <= 162 and (np.diff(kept) > 0).all()
        assert {0, length - 1, length // 3, int(values.argmin())} <= set(kept.tolist())


def test_a_diverged_curve_stops_where_it_is_no_number(pages: dict[str, tuple[Analysed, Page]]) -> None:
    frames = pages["planted"][0].frames
    curve = frames.curves.copy()
    first = curve["train_id"] == curve["train_id"].iloc[0]
    curve.loc[first & (curve["step"] > 30), ["train_loss", "report_loss"]] = np.inf
    data = curve_data(dataclasses.replace(frames, curves=curve))
    series = data["curves"][curve["train_id"].iloc[0]]
    assert data["axes"][series["train"][0]][-1] == 30 and data["axes"][series["report"][0]][-1] == 30
    json.dumps(data, allow_nan=False)


def channel(value: int) -> float:
    return value / 255 / 12.92 if value / 255 <= 0.03928 else ((value / 255 + 0.055) / 1.055) ** 2.4


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two `#rrggbb` colours."""
    lights = sorted(
        0.2126 * channel(int(c[1:3], 16)) + 0.7152 * channel(int(c[3:5], 16)) + 0.0722 * channel(int(c[5:7], 16)) for c in (one, other)
    )
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def test_text_can_be_read_in_light_and_dark() -> None:
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r"^:root[^{,]*\{([^}]*)\}", asset("page.css"), re.M)
    )
    for names in (light, dark):
        pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("bg", "card")]
        pairs += [(kind, f"{kind}-bg") for kind in ("good", "bad", "open", "warn")]
        for text, ground in pairs:
            assert contrast(names[text], names[ground]) >= 4.5, (text, ground)
    for style in arm_styles(["lora", "olora", "olora_plus", "pissa", "lora_plus", "orthogonal", "eva"]).values():
        assert contrast(style.colour, light["card"]) >= 2.8 and contrast(style.on_dark, dark["card"]) >= 3


@pytest.mark.parametrize(("low", "high"), [(0, 60), (-4.2, 4.2), (1.9993, 2.0001), (0, 1e9)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 5)
    assert 3 <= len(ticks) <= 5 and min(ticks) >= low and max(ticks) <= high
