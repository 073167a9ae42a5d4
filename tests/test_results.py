"""Committed tables and what pages show of them are what the records make, byte for byte; verdicts have the errors that were recounted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from olora_bench.analysis.outcome import outcomes
from olora_bench.analysis.scopes import About
from olora_bench.report import study_report, table_files
from olora_bench.report.extract import BLOCK, claims, extract
from olora_bench.report.origins import origins
from olora_bench.report.page import study_page
from olora_bench.study.expand import find_study
from olora_bench.study.remake import remake
from olora_bench.words.comparisons import caption
from tests.committed_results import PUBLISHED, RESULTS, read

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [(page, found[2], found[3], found[4]) for page in PAGES for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("study", PUBLISHED)
def test_every_committed_table_is_what_the_records_make(study: str) -> None:
    """`make figures SWEEP=...` gives them again, byte for byte. What git's history says is left out: a shallow clone has none."""
    made = table_files(read(study).tables)
    there = {path.name: path.read_bytes() for path in (RESULTS / study / "report" / "tables").iterdir()}
    assert there.keys() == made.keys()
    assert [name for name in made if there[name] != made[name] and not name.startswith("declared.")] == []


@pytest.mark.parametrize("study", PUBLISHED)
def test_every_committed_report_and_page_is_what_the_records_make(study: str) -> None:
    """`python -m olora_bench.study report ...` gives them again. The page holds what git's history says, which a shallow clone lacks."""
    found, folder = read(study), RESULTS / study / "report"
    assert (folder / "report.md").read_text(encoding="utf-8").startswith(study_report(found.frames, found.tables, []))
    if table_files(found.tables)["declared.csv"] == (folder / "tables" / "declared.csv").read_bytes():
        made = study_page(found.frames, found.tables, origins(found.frames, remake(study, find_study(study), RESULTS)))
        assert (folder / "index.html").read_bytes() == made


@pytest.mark.parametrize("study", PUBLISHED)
def test_every_committed_caption_of_the_comparisons_is_what_the_verdicts_make(study: str) -> None:
    found = read(study)
    captions = (RESULTS / study / "report" / "figures" / "captions.md").read_text(encoding="utf-8")
    drawn = found.tables["verdicts"].dropna(subset=["difference", "loss_difference"], how="all")
    wanted = [one for one in caption(outcomes(drawn), found.frames.margin) if one] if len(drawn) else ["**Equivalent steps"]
    assert [one for one in wanted if one not in captions] == []


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_committed_run_is_of_uncommitted_code(study: str) -> None:
    runs = read(study).frames.runs
    harness = runs[runs["state"] == "done"]["harness"]
    assert len(harness) and not harness.str.contains("local changes").any()


def test_pages_show_a_study_and_its_answers() -> None:
    assert {(page.name, kind, study) for page, kind, study, _ in SHOWN} >= {
        ("results.md", "study", "smollm2"),
        ("claims.md", "claims", "smollm2"),
    }


@pytest.mark.parametrize("page, kind, study, text", SHOWN, ids=lambda part: part.stem if isinstance(part, Path) else str(part)[:12])
def test_what_a_page_says_of_a_study_is_what_the_records_say(page: Path, kind: str, study: str, text: str) -> None:
    found = read(study)
    wanted = extract(found.frames, found.tables) if kind == "study" else claims(found.tables)
    assert text == wanted + "\n", f"python -m olora_bench.study extract {study} --into {page.relative_to(ROOT)}"


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        ("tuned", {"difference": 0.648, "block_se": 0.280, "item_se": 0.352, "low": -0.35, "high": 1.65, "p": 0.177}),
        ("shared", {"difference": 2.009, "block_se": 0.072, "item_se": 0.772, "low": 0.48, "high": 3.54, "p": 0.010}),
    ],
)
def test_the_verdicts_have_the_errors_that_a_reviewer_found(role: str, wanted: dict[str, float]) -> None:
    """By other code from raw items; percentage points. The ends are Banerjee's, a little wider than Satterthwaite's t."""
    verdicts = read("smollm2").tables["verdicts"]
    row = verdicts.set_index(["contrast", "role"]).loc[("olora vs lora", role)]
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=6e-3)


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_number_has_two_intervals(study: str) -> None:
    """A comparison's verdict, its scopes, its cells of one benchmark or measure: one scope, one interval. At looks the verdict's is the
    repeated one, which holds that of one look."""
    tables = read(study).tables
    scopes = tables["scopes"].set_index(["contrast", "role", "measure", "about"])
    assert scopes.index.is_unique
    measures = tables["measures"][(tables["measures"]["measure"] == "report_loss") & tables["measures"]["longest"]]
    measures = measures.set_index(["contrast", "role"])
    assert measures.index.is_unique, "one cell a comparison: its loss is the comparison's"
    worth = tables["equivalent_steps"].set_index(["contrast", "role", "steps"])["p"]
    for row in tables["verdicts"].to_dict("records"):
        key, loss = (row["contrast"], row["role"]), [row["loss_difference"], row["loss_low"], row["loss_high"]]
        described = measures.loc[key, ["difference", "low", "high"]].to_list()
        longest = worth.loc[key].iloc[-1] if key in worth.index.droplevel("steps") else None
        if row["judged_by"] == "report_loss" and row.get("look", 0) > 0:  # not a number: no looks
            assert loss[0] == pytest.approx(described[0]) and loss[1] < described[1] < described[2] < loss[2]
            assert longest is None or longest < row["loss_p"], "that of one look is below the sequential one"
        else:
            assert loss == pytest.approx(described)
            assert longest is None or longest == pytest.approx(row["loss_p"]), "the test of equal steps is that of the loss"
        of = About.SEEDS_AND_ITEMS if row["loss_new_items"] else About.SEEDS
        assert loss == pytest.approx(scopes.loc[(*key, "report_loss", of), ["difference", "low", "high"]].to_list())
        if row["judged_by"] == "score":
            score = scopes.loc[(*key, "score", About.SEEDS_AND_ITEMS), ["difference", "low", "high"]].to_list()
            assert [row["difference"], row["low"], row["high"]] == pytest.approx(score)


def test_the_wider_scope_has_the_smaller_error_as_often_as_statistics_says() -> None:
    """In six of ten comparisons of smollm2, and in four the narrower interval; none is shown by one of the two alone."""
    scopes = read("smollm2").tables["scopes"].query("measure == 'score'").set_index(["about", "contrast", "role"])
    both, items = (scopes.loc[about] for about in (About.SEEDS_AND_ITEMS, About.ITEMS))
    assert len(both) == len(items) == 10
    assert (np.hypot(both["block_se"], both["item_se"]) < items["item_se"]).sum() == 6
    assert (both["high"] - both["low"] < items["high"] - items["low"]).sum() == 4
    assert ((both["low"] > 0) == (items["low"] > 0)).all() and ((both["high"] < 0) == (items["high"] < 0)).all()
