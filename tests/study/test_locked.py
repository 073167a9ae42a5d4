"""What was locked before the first run, and what a later change of it comes to: said by status and report, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from planting import MakeStudy, SweepStudy

from olora_bench.config import conf_dir
from olora_bench.store import sealed
from olora_bench.study.locked import settled, since_locked
from olora_bench.study.names import Home
from olora_bench.study.open import OpenStudy
from olora_bench.study.report import report
from olora_bench.study.status import status_text
from olora_bench.words.declared import since_text
from tests.fixture_types import Json

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], lr: 1e-3, seed: [0, 1]}]
"""
SUITE = "suite: {name: small, limit: 4, rows: made_up, benchmarks: [piqa]}"
CHANGES = {
    "a recipe value": (f"{SUITE}\nrecipe: {{batch_size: 8}}", NODE, "recipe.default.batch_size was 16 and is 8"),
    "data": (f"{SUITE}\ndata: {{cutoff: 128}}", NODE, "data.made_up.cutoff was 256 and is 128"),
    "seeds": (SUITE, NODE.replace("[0, 1]", "[0, 1, 2]"), "study.grids.0.seed was 0, 1 and is 0, 1, 2"),
    "a contrast": (SUITE, NODE.replace("primary", "secondary"), "study.contrasts.0.kind was primary and is secondary"),
    "the model": (f"{SUITE}\nmodel: {{target_modules: [q_proj]}}", NODE, "model.tiny_tinyllama.target_modules was "),
}  # fmt: skip


@pytest.fixture
def ran(study: MakeStudy, sweep: SweepStudy) -> OpenStudy:
    """A study whose runs are made; its scores are not there."""
    opened = study(NODE, more=SUITE)
    sweep(opened, lambda _: 1.0)
    return opened


def said(opened: OpenStudy) -> tuple[str, str]:
    """By status, and by the report of a finished study."""
    words = [str(opened.file.path), [f"machine.results_dir={opened.store.root}"]]
    return status_text(*words)[0], report(*words).text  # type: ignore[arg-type]


def test_each_change_after_the_first_run_is_found(study: MakeStudy, ran: OpenStudy) -> None:
    for what, (more, node, change) in CHANGES.items():
        again = study(node, more=more)
        assert since_text(since_locked(again.home, again.file.path).changes).startswith(change), what


def test_another_primary_metric_is_said_with_what_it_was_by_status_and_report(ran: OpenStudy) -> None:
    """A benchmark's YAML beside the study file, or edited in conf/: its first metric is the primary one."""
    own = ran.file.path.parent / "benchmark" / "piqa.yaml"
    own.parent.mkdir()
    own.write_text((conf_dir() / "benchmark" / "piqa.yaml").read_text().replace("[acc_norm, acc]", "[acc, acc_norm]"))
    for text in said(ran):
        assert "Changed since the first run: suite.small.benchmarks.piqa.metrics was acc_norm, acc and is acc, acc_norm" in plain(text)


def plain(text: str) -> str:
    """Without Markdown's escapes."""
    return text.replace("\\", "")


def test_a_comment_a_title_and_a_machine_are_no_change(study: MakeStudy, ran: OpenStudy) -> None:
    again = study(NODE, more=f"# why\n{SUITE}")
    again.file.path.write_text(again.file.path.read_text().replace("title: a study", "title: another"))
    status, printed = said(again)
    assert "Changed since" not in status + printed
    assert "are what was locked before the first run." in printed


def test_another_version_of_the_analysis_is_a_change(ran: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olora_bench.study.locked.ANALYSIS_VERSION", 99)
    assert all("analysis" in text and "and is 99" in text for text in said(ran))


def lock(opened: OpenStudy) -> Json:
    found: Json = json.loads((opened.store.root / opened.name / "lock.json").read_text())
    return found


def test_until_a_run_has_a_record_a_study_may_change(study: MakeStudy, sweep: SweepStudy, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first sweep was stopped at the door. After the first record the lock stays what it is, and a sweep says what has changed."""
    first = study(NODE, more=SUITE)
    sweep(first, lambda _: 1.0)
    for folder in sorted((first.store.root / "runs").iterdir()):
        (folder / "record.json").unlink()
    second = study(NODE, more=f"{SUITE}\nrecipe: {{batch_size: 8}}")
    sweep(second, lambda _: 1.0)
    assert lock(second)["settled"]["recipe.default.batch_size"] == [8]
    third = study(NODE, more=f"{SUITE}\nrecipe: {{batch_size: 4}}")
    capsys.readouterr()
    sweep(third, lambda _: 1.0)
    assert lock(third)["settled"]["recipe.default.batch_size"] == [8]
    assert "study throwaway: changed since the first run: recipe.default.batch_size was 8 and is 4" in capsys.readouterr().err


def test_a_lock_of_an_earlier_version_says_that_it_covered_the_file_alone(ran: OpenStudy, sweep: SweepStudy) -> None:
    """And stays so: what its runs were begun under is not known."""
    path = ran.store.root / ran.name / "lock.json"
    path.write_bytes(sealed({"schema_version": 2, "precision": "fp32"}))
    sweep(ran, lambda _: 1.0)
    assert "settled" not in lock(ran)
    status, printed = said(ran)
    assert "Changed since" not in status
    assert (
        "Nothing but throwaway.yaml itself was settled before the first run: its lock does not cover what that file composes to "
        "(recipe, data, primary metrics) or the version of the analysis: tests may be newer than the runs."
    ) in plain(printed)


def test_a_damaged_lock_stops_no_report(ran: OpenStudy) -> None:
    path = ran.store.root / ran.name / "lock.json"
    path.write_text("{}")
    printed = plain(report(str(ran.file.path), [f"machine.results_dir={ran.store.root}"]).text)
    assert f"Changed since the first run: not known ({path}: schema_version is None" in printed


def test_committed_studies_say_that_their_locks_covered_the_file_alone() -> None:
    results = Path(__file__).parents[2] / "results"
    assert {since_locked(Home(results, name)).covers for name in ("smollm2", "smollm2_alpaca")} == {"the study file"}


def test_what_is_settled_is_neither_machine_nor_tracker(study: MakeStudy) -> None:
    one, other = study(NODE, more=SUITE), study(NODE, "machine.threads=1", "tracker=wandb", more=SUITE)
    assert settled(one.file) == settled(other.file)
    assert str(one.store.root) not in json.dumps(settled(one.file))


def test_a_combination_counts_whatever_its_rate_and_seed(study: MakeStudy) -> None:
    """Two inits at two seeds: each init once, its option by name."""
    found = settled(study(NODE, more=SUITE).file)
    assert {name for name in found if name.endswith(".code")} == {"init.lora.code", "init.olora.code"}
    assert found["rank"] == [4] and not {"lr", "seed"} & found.keys()


def test_long_lists_of_changes_are_cut() -> None:
    changes = [(f"a{number}", 1, None) for number in range(12)]
    assert since_text(changes).endswith("a9 was 1 and is not set; and 2 more")
