"""What is odd in imported files is its run's fault alone, counted and said; never a traceback or a silent mean."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from imported_logs import LEAD, STUDY, Importer, logs, records, right, scores_csv, state, unread, verdicts
from lm_eval_logs import Log

from olora_bench.errors import BadInput
from olora_bench.study.imported_report import import_study


def test_two_scores_that_differ_are_their_runs_fault_alone(tmp_path: Path, importer: Importer) -> None:
    scores_csv(tmp_path, [(arm, seed, "piqa", 0.5) for arm in LEAD for seed in (0, 1)] + [("lora", 0, "piqa", 0.9)], "score")
    found = importer(runs=[], scores="scores.csv")
    assert unread(tmp_path) == ["lora, seed 0: two scores of piqa that differ: keep one"]
    assert verdicts(found.frames)[["pairs_planned", "pairs_missing"]].values.tolist() == [[2, 1]]


@pytest.mark.parametrize("again", [[0, 1], [0, 0, 1, 1]], ids=str)
def test_an_item_that_is_right_and_wrong_is_its_runs_fault_alone(again: list[int], tmp_path: Path, importer: Importer) -> None:
    rows = [(arm, seed, "piqa", item, item % 2) for arm in LEAD for seed in (0, 1) for item in range(4)]
    scores_csv(tmp_path, [*rows, *(("lora", 1, "piqa", 9, value) for value in again)], "item", "score")
    importer(runs=[], scores="scores.csv")
    assert unread(tmp_path) == ["lora, seed 1: item '9' of piqa stands there twice, right and wrong: keep one"]


@pytest.mark.parametrize("columns", [("item", "score"), ("score",)], ids=["items", "scores"])
def test_rows_that_say_the_same_again_count_once(columns: tuple[str, ...], tmp_path: Path, importer: Importer) -> None:
    values = [(item, item % 2) for item in range(4)] if len(columns) == 2 else [(0.5,)]
    rows = [(arm, seed, "piqa", *value) for arm in LEAD for seed in (0, 1) for value in values]
    scores_csv(tmp_path, [*rows, rows[0]], *columns)
    found = importer(runs=[], scores="scores.csv")
    assert f"{rows[0][0]}, seed 0: 1 rows of piqa say the same again: counted once" in found.frames.problems
    assert {one.scores["piqa"].items for one in records(tmp_path)} == {4 if len(columns) == 2 else None}
    assert {one.scores["piqa"].score for one in records(tmp_path)} == {0.5}


def test_a_benchmark_of_one_run_is_left_out_and_no_other_run(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    Log({"extra": [1, 0]}, date="2026-03-03T00-00-00").write(tmp_path / "runs" / "lora" / "seed0")
    found = importer()
    assert found.lacks == [] and set(found.frames.scores["benchmark"]) == {"piqa", "boolq"}
    assert any(line.startswith("left out: extra: no score of lora seed 1, ") for line in found.frames.problems)


def test_a_benchmark_without_any_answer_is_said(tmp_path: Path, importer: Importer) -> None:
    rows = [(arm, seed, name, 0.5 if name == "piqa" else None) for arm in LEAD for seed in (0, 1) for name in ("piqa", "boolq")]
    scores_csv(tmp_path, rows, "score")
    found = importer(runs=[], scores="scores.csv")
    assert any(line.startswith("left out: boolq: no score of ") for line in found.frames.problems)


def test_nothing_left_to_compare_is_a_lack(tmp_path: Path, importer: Importer) -> None:
    rows = [(arm, seed, "piqa", f"{arm}{item}", 1) for arm in LEAD for seed in (0, 1) for item in range(4)]
    scores_csv(tmp_path, rows, "item", "score")
    assert importer(runs=[], scores="scores.csv").lacks == ["no benchmark is left to compare: see what was left out"]


def test_runs_that_share_no_benchmark_are_not_a_study_without_scores(tmp_path: Path, importer: Importer) -> None:
    scores_csv(tmp_path, [("lora", 0, "piqa", 0.5), ("olora", 0, "boolq", 0.5)], "score")
    assert importer(runs=[], scores="scores.csv").lacks == ["scores of 2 runs missing"]


def test_a_report_says_why_a_run_is_not_in_it(tmp_path: Path) -> None:
    scores_csv(tmp_path, [("lora", 0, "piqa", 57), ("olora", 0, "piqa", 0.5)], "score")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"runs": [], "scores": "scores.csv"}))
    text = import_study(tmp_path / "study.yaml", tmp_path / "results").text
    assert "model lora seed 0: scores unreadable: lora, seed 0: score 57.0 is not allowed: a share from 0 to 1 (percent over 100)" in text


def test_an_arm_of_a_contrast_that_no_run_has_is_refused(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    with pytest.raises(BadInput) as caught:
        importer(contrasts=[{"arm": "olora", "reference": "lorra"}])
    expected = "contrasts: no run of lorra is found. There: lora, olora. One that is still to come stands among arms"
    assert str(caught.value) == expected
    assert importer(contrasts=[{"arm": "olora", "reference": "lorra"}], arms=["olora", "lorra"]).lacks == ["1 of 2 runs missing"]


@pytest.mark.parametrize("place", ["../scores.csv", "/etc/hostname"])
def test_a_table_lies_below_the_studys_folder(place: str, tmp_path: Path, importer: Importer) -> None:
    with pytest.raises(BadInput) as caught:
        importer(scores=place)
    said = f"{tmp_path}/study.yaml: scores: {place!r} is not allowed: a CSV below the file's own folder, without .."
    assert str(caught.value) == said


ODD = ["=1+1", "@a", "a\nb", "a\x1b[31m", "a\u202eb"]


@pytest.mark.parametrize("name", ODD)
def test_a_folder_whose_arm_no_table_could_hold_is_no_runs(name: str, tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    Log(right("lora", 0)).write(tmp_path / "runs" / name / "seed0")
    found = importer()
    assert set(found.frames.runs["arm"]) == set(LEAD)
    expected = f"arm {name!r} is no printable text that does not begin with = + - @"
    assert [line.split(": ", 1)[1] for line in found.frames.problems if "does not match" in line] == [expected]


@pytest.mark.parametrize("name", ODD)
def test_a_table_with_a_name_that_no_table_could_hold_is_refused(name: str, tmp_path: Path, importer: Importer) -> None:
    rule = f"{name!r} is not allowed: printable text that does not begin with = + - @"
    scores_csv(tmp_path, [(arm, 0, "piqa", 0.5) for arm in (*LEAD, name)], "score")
    with pytest.raises(BadInput) as caught:
        importer(runs=[], scores="scores.csv")
    assert str(caught.value) == f"{tmp_path}/scores.csv: arm {rule}"
    scores_csv(tmp_path, [(arm, 0, name, 0.5) for arm in LEAD], "score")
    importer(runs=[], scores="scores.csv")
    assert sorted(map(str, unread(tmp_path))) == [f"{arm}, seed 0: benchmark {rule}" for arm in LEAD]


@pytest.mark.parametrize("name", ODD)
def test_a_task_whose_name_no_table_could_hold_is_refused(name: str, tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    path = next((tmp_path / "runs" / "lora").rglob("results*"))
    raw = json.loads(path.read_text())
    raw["results"][name] = raw["results"].pop("piqa")
    path.write_text(json.dumps(raw))
    importer()
    rule = "is no name of a task or metric: printable text that does not begin with = + - @"
    assert unread(tmp_path) == [f"{path.relative_to(tmp_path)}: {name!r} {rule}"]


def test_a_folder_whose_name_is_no_text_is_told_by_its_bytes(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    Path(os.fsdecode(bytes(tmp_path / "runs") + b"/l\xffra")).joinpath("seed0").mkdir(parents=True)
    Log(right("lora", 1)).write(Path(os.fsdecode(bytes(tmp_path / "runs" / "lora" / "seed1") + b"/d\xff")))
    found = importer()
    assert any(line.startswith("runs/l\\udcffra/seed0/ does not match") for line in found.frames.problems)
    assert any(source.path.startswith("runs/lora/seed1/d\\udcff/") for one in records(tmp_path) for source in one.sources)


@pytest.mark.parametrize("alpha", ['"sixteen"', "1e400", "true", "[8]", "{}", "null"])
def test_an_adapters_odd_values_stop_nothing(alpha: str, tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    raw = f'{{"r": -8, "lora_alpha": {alpha}, "base_model_name_or_path": ["x"], "init_lora_weights": [1, {{}}]}}'
    (tmp_path / "runs" / "lora" / "seed0" / "adapter_config.json").write_text(raw)
    runs = importer().frames.runs
    assert runs["alpha"].isna().all() and set(runs["rank"]) == {0}


def test_a_rate_that_one_arm_alone_has_is_no_comparison(tmp_path: Path, importer: Importer) -> None:
    for arm, rates in (("olora", ("1e-4", "1e-3")), ("lora", ("1e-4", "1e-2"))):
        for lr in rates:
            for seed in (0, 1):
                Log(right(arm, seed)).write(tmp_path / "runs" / arm / f"lr{lr}" / f"seed{seed}")
    found = importer(runs="runs/{arm}/lr{lr}/seed{seed}")
    assert verdicts(found.frames)[["lr_arm", "pairs_planned", "pairs_missing"]].values.tolist() == [[1e-4, 2, 0]]


@pytest.mark.parametrize("loss", ["NaN", "Infinity", "null"])
def test_a_log_that_ends_in_no_number_is_of_a_run_that_diverged(loss: str, tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=6)
    for arm in LEAD:
        for seed in range(6):
            text = json.dumps(state(2.0))
            text = text.replace('"eval_loss": 2.0', f'"eval_loss": {loss}') if (arm, seed) == ("lora", 3) else text
            (tmp_path / "runs" / arm / f"seed{seed}" / "trainer_state.json").write_text(text)
    found = importer()
    (one,) = [one for one in records(tmp_path) if one.state == "diverged"]
    assert (one.arm, one.seed, one.error) == ("lora", 3, "its log ends in a loss that is no finite number")
    assert verdicts(found.frames)[["verdict", "diverged"]].values.tolist() == [["unresolved", 1]]
    assert found.lacks == []


def test_runs_of_unknown_rate_are_left_out_beside_those_of_a_known_one(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=3)
    for arm in LEAD:
        for seed in range(2):
            (tmp_path / "runs" / arm / f"seed{seed}" / "trainer_state.json").write_text(json.dumps(state(2.0)))
    found = importer().frames
    said = "the learning rate of lora seed 2, olora seed 2 is not known, where that of others is: in no comparison at one rate"
    assert verdicts(found)["pairs_planned"].tolist() == [2] and said in found.problems


def test_a_log_that_misses_the_highest_rate_accuses_nobody(tmp_path: Path) -> None:
    """Trainers log every tenth step or so: the rate that was reached may stand between two rows."""
    logs(tmp_path, seeds=1)
    for arm in LEAD:
        (tmp_path / "runs" / arm / "seed0" / "trainer_state.json").write_text(json.dumps(state(2.0, lr=2.9e-4)))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"lr": {"olora": 3e-4, "lora": 3e-4}}))
    assert "warm-up" not in import_study(tmp_path / "study.yaml", tmp_path / "results").text


def test_one_folder_that_two_patterns_name_is_read_once(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    found = importer(runs=["runs/{arm}/seed{seed}", "runs/{arm}/seed{seed}/base", "*/{arm}/seed{seed}"])
    assert not [line for line in found.frames.problems if "older" in line]
    assert {len(one.sources) for one in records(tmp_path)} == {3}


def test_many_folders_that_do_not_match_are_counted(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    for number in range(25):
        (tmp_path / "runs" / "lora" / f"x{number:02}").mkdir()
    problems = [line for line in importer().frames.problems if "match" in line]
    assert len(problems) == 21 and problems[-1] == "5 more folders do not match runs/{arm}/seed{seed}"


@pytest.mark.parametrize(
    "pairs", [[("olora", "olora")], [("olora", "lora")] * 2, [("olora", "lora"), ("lora", "olora")]], ids=["itself", "twice", "turned"]
)
def test_contrasts_are_of_two_arms_each_once(pairs: list[tuple[str, str]], tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    with pytest.raises(BadInput) as caught:
        importer(contrasts=[{"arm": one, "reference": other} for one, other in pairs])
    said = f"contrasts: {' against '.join(pairs[0])} is no comparison, or stands there twice: two arms, each pair once"
    assert str(caught.value) == f"{tmp_path}/study.yaml: {said}"
