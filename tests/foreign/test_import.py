"""A study whose runs exist elsewhere: its verdicts are those of our own records of the same runs, and what does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from imported_logs import LEAD, STUDY, Importer, logs, records, right, state, verdicts
from lm_eval_logs import Log

from olora_bench.analysis.reasons import ItemsUnread
from olora_bench.errors import BadInput, RecordError
from olora_bench.foreign.record import read
from olora_bench.study.__main__ import main
from olora_bench.study.imported_items import imported_runs, item_lines_of
from olora_bench.study.imported_report import import_study
from olora_bench.study.names import check_name


def test_a_record_says_what_is_not_known_and_why(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    importer()
    one = records(tmp_path)[0]
    assert (one.lr, one.rank, one.steps) == (None, None, None)
    assert one.missing["lr"] == "neither the path, the study file nor a trainer's log says it"
    assert [source.path.split("/")[0] for source in one.sources] == ["runs"] * 3
    assert {name: (score.metric, score.items, score.version, score.fewshot) for name, score in one.scores.items()} == {
        "piqa": ("acc", 20, "1.0", "0"), "boolq": ("acc", 20, "1.0", "0")}  # fmt: skip


def test_the_same_files_make_the_same_records(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=2)
    importer()
    first = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    importer()
    assert first == {path: path.read_bytes() for path in first}


def test_rates_are_as_given(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    found = importer(lr={"olora": 3e-4, "lora": 1e-4})
    said = "learning rates are as given (lora 1e-4; olora 3e-4): nothing says how they were chosen, so none is called tuned"
    assert said in found.frames.problems
    assert verdicts(found.frames)[["role", "confirmatory"]].values.tolist() == [["given", True]]
    assert found.frames.runs.groupby("arm")["lr"].unique().str[0].to_dict() == {"lora": 1e-4, "olora": 3e-4}


def test_rates_that_nobody_says_are_not_known(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    assert "no learning rate is known, so none is called tuned" in importer().frames.problems


def test_rates_that_both_arms_have_are_compared_one_by_one(tmp_path: Path, importer: Importer) -> None:
    for lr in ("1e-4", "3e-4"):
        logs(tmp_path, folder=f"runs/{{arm}}/lr{lr}/seed{{seed}}")
    found = verdicts(importer(runs="runs/{arm}/lr{lr}/seed{seed}").frames)
    assert found[["role", "lr_arm"]].values.tolist() == [["shared", 1e-4], ["shared", 3e-4]]


def test_what_does_not_match_is_listed(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    (tmp_path / "runs" / "olora" / "old").mkdir()
    logs(tmp_path, seeds=1, folder="runs/{arm}/seed9")
    problems = importer(seeds=[0, 1]).frames.problems
    assert "runs/olora/old/ does not match runs/{arm}/seed{seed}" in problems
    assert "lora, seed 9 is not read: seed 9 is not among seeds" in problems


def test_a_declared_run_that_is_not_there_is_missing(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    found = importer(seeds=[0, 1, 2])
    assert found.lacks == ["2 of 6 runs missing"]
    assert verdicts(found.frames)[["pairs_planned", "pairs_missing"]].values.tolist() == [[3, 1]]


def test_scores_alone_have_no_item_part(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=6, samples=False)
    (verdict,) = verdicts(importer().frames).to_dict("records")
    assert verdict["verdict"] == "no verdict"
    assert verdict["reasons"] == (ItemsUnread(6, 6),)


@pytest.mark.parametrize(
    "change, said",
    [({"prompt": "Other"}, "left out: piqa: the runs do not share one prompt in 20 items"),
     ({"fewshot": 5}, "left out: piqa: the runs do not share one number of examples in the prompt (0, 5)"),
     ({"version": 2.0}, "left out: piqa: the runs do not share one version (1.0, 2.0)")],
)  # fmt: skip
def test_other_questions_leave_a_benchmark_out(change: dict[str, Any], said: str, tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    Log(right("lora", 0), date="2026-03-03T00-00-00", **change).write(tmp_path / "runs" / "lora" / "seed0")
    assert said in importer().frames.problems


def test_a_damaged_file_is_its_runs_fault_alone(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=3)
    path = next((tmp_path / "runs" / "olora" / "seed1").rglob("samples_piqa*"))
    path.write_bytes(path.read_bytes()[:-30])
    found = importer()
    assert found.lacks == ["scores of 1 runs unreadable"]
    (broken,) = [one for one in records(tmp_path) if one.scores_state == "unreadable"]
    assert broken.scores_error == f"{path.relative_to(tmp_path)}: line 20 is cut off: the file is half-written"
    assert verdicts(found.frames)[["pairs_planned", "pairs_missing"]].values.tolist() == [[3, 1]]


def test_a_run_without_a_benchmark_that_others_have_is_left_out_with_its_reason(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    next((tmp_path / "runs" / "olora" / "seed1").rglob("results*")).unlink()
    Log({"piqa": right("olora", 1)["piqa"]}).write(tmp_path / "runs" / "olora" / "seed1")
    runs = importer().frames.runs
    assert runs[runs["eval_state"] == "missing"]["eval_reason"].tolist() == ["no score of boolq"]


def test_a_table_of_items_is_a_source(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=6)
    logged = verdicts(importer().frames)
    rows = [(arm, seed, name, place, value) for arm in LEAD for seed in range(6)
            for name, answers in right(arm, seed).items() for place, value in enumerate(answers)]  # fmt: skip
    pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "item", "score"]).to_csv(tmp_path / "scores.csv", index=False)
    numbers = ["difference", "low", "high", "p", "found"]
    pd.testing.assert_frame_equal(logged[numbers], verdicts(importer(runs=[], scores="scores.csv").frames)[numbers])
    assert logged["low"].notna().all()


def test_a_table_of_scores_is_a_source(tmp_path: Path, importer: Importer) -> None:
    rows = [(arm, seed, "piqa", 0.5 + 0.01 * seed + 0.02 * (arm == "olora")) for arm in LEAD for seed in range(6)]
    pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "score"]).to_csv(tmp_path / "scores.csv", index=False)
    found = importer(runs=[], scores="scores.csv")
    assert verdicts(found.frames)["difference"].tolist() == pytest.approx([2.0])
    assert "how many items piqa has is not known: its scores are read to a millionth" in found.frames.problems


def test_a_table_of_scores_tells_the_rate_of_a_folders_run(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    rows = [(arm, 0, 3e-4, "gsm8k", 0.5) for arm in LEAD]
    pd.DataFrame(rows, columns=["arm", "seed", "lr", "benchmark", "score"]).to_csv(tmp_path / "scores.csv", index=False)
    importer(scores="scores.csv")
    found = records(tmp_path)
    assert {(one.lr, one.lr_from) for one in found} == {(3e-4, "the path or table")}
    assert {tuple(sorted(one.scores)) for one in found} == {("boolq", "gsm8k", "piqa")}


@pytest.mark.parametrize(
    "lr, seed, message",
    [
        (-1, 0, "scores: lr -1 is not allowed: a number from 0 on, or nothing"),
        ("fast", 0, "scores: lr 'fast' is not allowed: a number from 0 on, or nothing"),
        (1e-4, 1e19, "scores: seed 1e+19 is not allowed: whole numbers from 0 on, one for each run"),
    ],
)
def test_a_table_of_scores_names_its_runs_by_numbers(
    lr: object, seed: object, message: str, tmp_path: Path, importer: Importer
) -> None:  # fmt: skip
    rows = [(arm, seed, lr, "piqa", 0.5) for arm in LEAD]
    pd.DataFrame(rows, columns=["arm", "seed", "lr", "benchmark", "score"]).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(BadInput) as caught:
        importer(runs=[], scores="scores.csv")
    assert str(caught.value) == message


def test_a_rate_in_a_path_is_finite(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1, folder="runs/{arm}/lr1e-4/seed{seed}")
    (tmp_path / "runs" / "lora" / "lr1e999" / "seed0").mkdir(parents=True)
    pattern = "runs/{arm}/lr{lr}/seed{seed}"
    expected = f"runs/lora/lr1e999/seed0/ does not match {pattern}: lr 1e999 is no finite number"
    assert expected in importer(runs=pattern).frames.problems


def test_two_sources_of_one_benchmark_are_refused(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    pd.DataFrame([("lora", 0, "piqa", 0.5)], columns=["arm", "seed", "benchmark", "score"]).to_csv(tmp_path / "scores.csv", index=False)
    importer(scores="scores.csv")
    (broken,) = [one for one in records(tmp_path) if one.scores_state == "unreadable"]
    assert broken.scores_error == "lora, seed 0: both lm-eval's results and the table of scores have piqa: keep one"


def test_trainer_states_make_curves_and_a_verdict_by_loss(tmp_path: Path, importer: Importer) -> None:
    for arm in LEAD:
        for seed in range(6):
            folder = tmp_path / "runs" / arm / f"seed{seed}"
            for step in ("checkpoint-1", "checkpoint-2"):
                (folder / step).mkdir(parents=True)
            early = state(9.0) | {"global_step": 1}
            (folder / "checkpoint-1" / "trainer_state.json").write_text(json.dumps(early))
            late = state(2.0 + 0.001 * seed**2 - 0.1 * (arm == "olora") * (1 + 0.01 * seed))
            (folder / "checkpoint-2" / "trainer_state.json").write_text(json.dumps(late))
    found = importer()
    frames = found.frames
    assert verdicts(found.frames)[["judged_by", "verdict"]].values.tolist() == [["report_loss", "better"]]
    assert "the held-out loss is the trainer's eval_loss, over the examples that the trainer was given" in frames.problems
    assert frames.curves.groupby("train_id")["report_loss"].count().tolist() == [1] * 12
    assert set(frames.runs["lr"]) == {2e-4} and {one.lr_from for one in records(tmp_path)} == {"the trainer's log"}
    assert {one.train_s for one in records(tmp_path)} == {12.5}


def test_a_trainers_log_says_no_rate_or_time_below_0(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    history = [{"loss": 1.0, "learning_rate": -1.0, "step": 1}, {"train_runtime": -1.0, "step": 1}]
    raw = {"global_step": 1, "log_history": history}
    for arm in LEAD:
        (tmp_path / "runs" / arm / "seed0" / "trainer_state.json").write_text(json.dumps(raw))
    importer()
    assert {(one.lr, one.train_s) for one in records(tmp_path)} == {(None, None)}


def test_a_trainers_log_that_contradicts_the_rate_it_is_given_is_said(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    (tmp_path / "runs" / "lora" / "seed0" / "trainer_state.json").write_text(json.dumps(state(2.0)))
    said = "lora, seed 0: the trainer's log rises to a learning rate of 0.0002, and the study file says 0.0001"
    assert said in importer(lr={"lora": 1e-4}).frames.problems


def test_adapters_tell_rank_base_and_init(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    for arm, init in (("lora", True), ("olora", "olora")):
        for seed in range(2):
            config = {"peft_type": "LORA", "r": 16, "lora_alpha": 8, "init_lora_weights": init, "target_modules": ["v_proj", "q_proj"],
                      "base_model_name_or_path": "org/base-1B"}  # fmt: skip
            folder = tmp_path / "runs" / arm / f"seed{seed}"
            (folder / "adapter_config.json").write_text(json.dumps(config))
            (folder / "adapter_model.safetensors").write_bytes(b"0" * 100)
    runs = importer().frames.runs
    assert runs[["model", "rank", "adapter_bytes"]].drop_duplicates().values.tolist() == [["base-1B", 16, 100.0]]
    assert sorted(set(runs["init"])) == ["True", "olora"]
    assert records(tmp_path)[0].adapter["target_modules"] == ["q_proj", "v_proj"]


def test_other_bases_and_ranks_of_the_arms_are_said(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    for arm, rank in (("lora", 8), ("olora", 16)):
        for seed in range(2):
            config = {"r": rank, "base_model_name_or_path": "org/base"}
            (tmp_path / "runs" / arm / f"seed{seed}" / "adapter_config.json").write_text(json.dumps(config))
    assert "the runs do not share one rank: 16, 8" in importer().frames.problems


def test_a_pickled_adapter_is_counted_and_never_read(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    for arm in LEAD:
        (tmp_path / "runs" / arm / "seed0" / "adapter_config.json").write_text("{}")
        (tmp_path / "runs" / arm / "seed0" / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    importer()
    assert {one.adapter_bytes for one in records(tmp_path)} == {25}


def test_items_of_an_imported_run(tmp_path: Path, importer: Importer, capsys: pytest.CaptureFixture[str]) -> None:
    logs(tmp_path, seeds=1)
    importer()
    (one,) = [one for one in records(tmp_path) if one.arm == "olora"]
    with pytest.raises(SystemExit) as ended:
        main(["items", one.run_id[:10], "--benchmark", "piqa", "--limit", "2", f"machine.results_dir={tmp_path / 'results'}"])
    assert ended.value.code == 0
    first, _, heading, *rows = capsys.readouterr().out.splitlines()
    assert first == f"imported run {one.run_id} (olora, seed 0): 40 items"
    answers = right("olora", 0)["piqa"]
    assert heading == f"piqa (acc): 20 items, {sum(answers)} right"
    assert [row.split(" ", 1)[1] for row in rows] == [f"(document {n}): {'right' if answers[n] else 'wrong'}" for n in (0, 1)]
    with pytest.raises(BadInput) as caught:
        list(item_lines_of(imported_runs(tmp_path / "results", one.run_id), benchmark="x"))
    assert str(caught.value) == "no items of benchmark 'x' were imported there. Allowed: piqa, boolq"


def test_a_damaged_record_says_so(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    importer()
    home = tmp_path / "results" / "mine"
    path = next((home / "imported").rglob("record.json"))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
    with pytest.raises(RecordError) as caught:
        read(home, path.parent.name)
    assert str(caught.value) == f"{path}: damaged: it is not what was written there: import the study again"


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"runs": "runs/{arm}"}, "pattern 'runs/{arm}': {seed} is missing. Write it where seed stands in the path"),
        ({"runs": "runs/{arm}/{nonsense}{seed}"}, "pattern 'runs/{arm}/{nonsense}{seed}': {nonsense} is no field. "
         "Fields, each once: {seed}, {lr}, {rank}, {arm}, {base}"),
        ({"runs": "../{arm}/{seed}"}, "{path}: runs: '../{arm}/{seed}' is not allowed: a pattern below the file's"),
        ({"colour": "red"}, "{path}: colour: unknown field"),
        ({"name": "runs"}, "{path}: name=runs is a reserved folder of results/ (runs, base, published): choose another name"),
    ],
)  # fmt: skip
def test_a_study_file_that_is_not_as_described_is_refused(
    keys: dict[str, object], message: str, tmp_path: Path, importer: Importer
) -> None:
    with pytest.raises(BadInput) as caught:
        importer(**keys)
    assert str(caught.value).startswith(message.replace("{path}", str(tmp_path / "study.yaml")))


def test_a_name_is_either_a_studys_or_an_imported_ones(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    importer()
    with pytest.raises(BadInput, match="runs that others made were imported under it"):
        check_name(tmp_path / "results", "mine", tmp_path / "study.yaml")
    (tmp_path / "results" / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="a study ran there under it"):
        importer()


def test_nothing_found_lists_what_is_there(tmp_path: Path, importer: Importer) -> None:
    (tmp_path / "runs" / "olora" / "first").mkdir(parents=True)
    with pytest.raises(BadInput) as caught:
        importer()
    pattern = "runs/{arm}/seed{seed}"
    expected = f"no run is found in {tmp_path}: nothing matches {pattern}\n  runs/olora/first/ does not match {pattern}"
    assert str(caught.value) == expected


def test_the_report_is_written_with_its_page_and_tables(tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"lr": {"olora": 3e-4, "lora": 1e-4}}))
    made, folder = import_study(path, tmp_path / "results"), tmp_path / "results" / "mine" / "report"
    assert "## olora against lora, each arm at the learning rate it was given (the verdict)" in made.text
    assert "tuned learning rate" not in made.text
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"index.html", "report.md", "tables/verdicts.csv", "tables/grid.csv"} <= names
    page = (folder / "index.html").read_text()
    assert "learning rates as given" in page and str(tmp_path) not in page
