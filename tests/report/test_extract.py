"""A study's result in a few lines, and a page that holds them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from olora_bench.errors import BadInput
from olora_bench.report.extract import filled
from olora_bench.study.__main__ import main
from olora_bench.study.tables import extract_text

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic"
WHERE = f"machine.results_dir={SYNTHETIC / 'results'}"


def asked(study: str, where: str = WHERE) -> str:
    return extract_text(str(SYNTHETIC / f"{study}.yaml"), [where])[1]


def test_a_finished_study_gives_its_table_and_a_sentence_a_comparison() -> None:
    text = asked("planted")
    assert "| benchmark" in text and "95% interval" in text
    assert "**olora against lora, one learning rate for both" in text and "**olora_plus against olora, one learning rate for both" in text
    assert "None" not in text and "nan" not in text
    assert text == asked("planted")


def test_an_unfinished_study_says_what_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "results"
    shutil.copytree(SYNTHETIC / "results", root)
    shutil.rmtree(root / "runs")
    text = asked("searched", f"machine.results_dir={root}")
    assert "0 of the " in text and "searches go on" in text and "| benchmark" not in text
    assert "No run yet that tells: olora against lora (each arm at its own learning rate" in text


def test_a_page_is_filled_between_its_marks_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- study other -->\nkept\n<!-- end -->\n\n<!-- study planted -->\nold\n<!-- end -->\nafter\n")
    wanted = f"before\n<!-- study other -->\nkept\n<!-- end -->\n\n<!-- study planted -->\n{asked('planted')}\n<!-- end -->\nafter\n"
    command = ["extract", str(SYNTHETIC / "planted.yaml"), WHERE, "--into", str(page)]
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 0
        assert page.read_text() == wanted
    assert capsys.readouterr().out == ""


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(BadInput, match="has no place for study smollm2: put the lines"):
        filled("<!-- study other -->\n<!-- end -->\n", "smollm2", "text")
