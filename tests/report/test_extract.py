"""A study's result in a few lines, and a page that holds them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from olora_bench.analysis import analyse
from olora_bench.analysis.outcome import outcomes
from olora_bench.errors import BadInput
from olora_bench.report.extract import _beside, claims, extract, filled
from olora_bench.study.__main__ import main
from olora_bench.study.names import Home
from olora_bench.study.report import analysed, extract_text

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic"
WHERE = f"machine.results_dir={SYNTHETIC / 'results'}"


def asked(study: str, where: str = WHERE) -> str:
    return extract_text(str(SYNTHETIC / f"{study}.yaml"), [where])[1]


def test_a_finished_study_gives_its_tables_and_a_sentence_for_what_decides() -> None:
    text = asked("planted")
    assert "| benchmark" in text and "95% interval" in text
    assert "**olora against lora, one learning rate for both" in text
    beside = next(line for line in text.splitlines() if re.match(r"\| olora_plus - olora \| +both 1e-3 \|", line))
    assert [cell.strip() for cell in beside.split("|")][3:-1] == [
        "0.0",
        "–",
        "0 of 6",
        "–",
        "–",
        "−0.100",
        "−0.115 to −0.085",
        "unresolved; neither seeds nor items show a spread: no error can be told",
    ]
    assert "None" not in text and "nan" not in text
    assert text == asked("planted")


def test_an_unfinished_study_says_what_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "results"
    shutil.copytree(SYNTHETIC / "results", root)
    shutil.rmtree(root / "runs")
    text = asked("searched", f"machine.results_dir={root}")
    assert "0 of the " in text and "| benchmark" not in text
    assert "No run that could tell yet: olora against lora (each arm at its own learning rate" in text


def test_secondary_contrasts_without_enough_runs_are_named_and_no_more() -> None:
    """No figure of theirs is printed: it would be quoted."""
    found = analysed(Home(SYNTHETIC / "results", "planted"))
    frames = found.frames
    late = (frames.runs["arm"] == "olora_plus") & (frames.runs["seed"] > 1)
    runs = frames.runs.assign(state=frames.runs["state"].mask(late, "missing"), eval_state=frames.runs["eval_state"].mask(late, "missing"))
    contrasts = tuple(one.model_copy(update={"kind": "secondary" if one.arm == "olora_plus" else one.kind}) for one in frames.contrasts)
    frames = replace(frames, runs=runs, contrasts=contrasts)
    text = extract(frames, analyse(frames, np.random.default_rng(0)))
    assert "Not enough runs yet: olora_plus against olora (one learning rate for both" in text and "of 6 pairs)." in text
    assert "olora_plus - olora" not in text
    assert "The mean over the other benchmarks without each in turn, in pp, and blocks for olora: " in text


def test_divergence_and_searches_at_an_edge_are_results(tmp_path: Path) -> None:
    found = analysed(Home(SYNTHETIC / "results", "planted"))
    ours = found.frames.runs["arm"] == "olora_plus"
    found.frames.runs.loc[ours, "state"] = "diverged"
    tables = analyse(found.frames, np.random.default_rng(0))
    text = extract(found.frames, tables)
    assert "6 of 6 pairs diverged" in text and "No run that could tell yet" not in text and "; 6 diverged" in text

    searched = analysed(Home(SYNTHETIC / "results", "searched"))
    searched.frames.searches["chosen"], searched.frames.searches["edge"] = np.nan, "high"
    text = extract(searched.frames, searched.tables)
    assert " learning-rate searches ended at an edge" in text and "go on and will add runs" not in text
    searched.frames.searches["edge"] = None
    text = extract(searched.frames, searched.tables)
    assert "ended at an edge" not in text and "go on and will add runs" in text


def test_written_answers_have_a_row_a_measure() -> None:
    """As the planted differences are: BLEU 2 above, ROUGE-1 0.02 for the ratio 4, each at its own rate."""
    lines = [[cell.strip() for cell in line.split("|")][1:-1] for line in asked("whole").splitlines() if line.startswith("| olora_plus_x4")]
    own = {row[2]: row for row in lines if row[1] == "own" and len(row) == 12}
    assert own["BLEU"][3:] == ["6", "20.0", "30.0", "32.0", "+2.0", "+1.8 to +2.2", "0.3", "higher", "syn_e, rank 8, steps 40"]
    assert own["ROUGE-1"][3:6] == ["6", "0.200", "0.300"]
    assert own["ROUGE-1"][6:11] == ["0.320", "+0.020", "+0.018 to +0.022", "0.003", "higher"]
    assert own.keys() == {"BLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L"}
    assert "written answers" not in asked("searched")


def test_a_comparison_judged_by_loss_has_a_table_of_its_own() -> None:
    """Its blocks, p and smallest difference are of the loss, and none of a score stands beside them."""
    found = analysed(Home(SYNTHETIC / "results", "whole"))
    by_score, other = [one for one in outcomes(found.tables["verdicts"]) if one.comparison.arm == "olora_plus_x4"]
    by_loss = replace(other, by_loss=True, score=replace(other.score, blocks=0, difference=np.nan, found=np.nan))
    first, _, second, _ = _beside([by_score, by_loss])
    assert "| score, pp |" in first and "score" not in second
    row = [cell.strip() for cell in second.splitlines()[2].split("|")]
    assert row[3:6] == ["−0.100", "−0.112 to −0.088", f"{by_loss.blocks_for} of 6"]


def test_caveats_go_with_it() -> None:
    assert "Caveats:\n\n- " in asked("broken")


def test_each_claim_is_answered_in_a_line() -> None:
    """As the table of claims does: none is left out, whatever its verdict."""
    tables = analysed(Home(SYNTHETIC / "results", "planted")).tables
    lines = claims(tables).splitlines()
    assert len(lines) == len(tables["claims"]) > 10
    for line, row in zip(lines, tables["claims"].to_dict("records"), strict=True):
        assert line.startswith(f"- [{row['claim']}](#{row['claim']}): **{row['verdict']}**") and row["figure"] in line


def test_a_mark_without_an_end_is_no_place() -> None:
    page = "<!-- study a -->\nold\n\nprose\n\n<!-- study my-b.v2 -->\nold\n<!-- end -->"
    with pytest.raises(BadInput, match="has no place for study a:"):
        filled(page, "a", "text", "answers")
    assert filled(page, "my-b.v2", "new", "answers") == page.replace("my-b.v2 -->\nold", "my-b.v2 -->\nnew")


def test_a_page_is_filled_between_its_marks_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    head = "before\n<!-- study other -->\nkept\n<!-- end -->\n\n<!-- claims other -->\nkept\n<!-- end -->\n"
    page.write_text(f"{head}<!-- study planted -->\nold\n<!-- end -->\nbetween\n<!-- claims planted -->\n<!-- end -->\nafter\n")
    answers = claims(analysed(Home(SYNTHETIC / "results", "planted")).tables)
    shown = f"<!-- study planted -->\n{asked('planted')}\n<!-- end -->\nbetween\n<!-- claims planted -->\n{answers}\n<!-- end -->\nafter\n"
    wanted = head + shown
    command = ["extract", str(SYNTHETIC / "planted.yaml"), WHERE, "--into", str(page)]
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 0
        assert page.read_text() == wanted
    assert capsys.readouterr().out == ""


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(BadInput, match="has no place for study smollm2: put the lines"):
        filled("<!-- study other -->\n<!-- end -->\n", "smollm2", "text", "answers")
