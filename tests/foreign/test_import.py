"""A study whose runs exist elsewhere: its verdicts are those of our own records of the same runs, and what does not fit is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from lm_eval_logs import Log

from olora_bench.analysis import StudyFrames, load_study
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.reasons import ItemsUnread
from olora_bench.analysis.verdicts import confirmatory
from olora_bench.errors import BadInput, RecordError
from olora_bench.foreign.record import ImportedRecord, read
from olora_bench.store import Store
from olora_bench.study.__main__ import main
from olora_bench.study.exported import export_frames
from olora_bench.study.imported import Read, read_runs
from olora_bench.study.imported_items import imported_runs, item_lines_of
from olora_bench.study.imported_report import import_study
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import check_name

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
LEAD = {"lora": 0.0, "olora": 0.1}
STUDY = {
    "name": "mine",
    "title": "OLoRA against LoRA",
    "runs": "runs/{arm}/seed{seed}",
    "contrasts": [{"arm": "olora", "reference": "lora"}],
}
HARD = {name: np.random.default_rng(len(name)).random(20) for name in ("piqa", "boolq")}
Importer = Callable[..., Read]


def right(arm: str, seed: int) -> dict[str, list[int]]:
    """A run's right answers, 20 of each benchmark: hard items are hard for every run."""
    rng = np.random.default_rng([seed, len(arm)])
    return {name: (0.7 * hard + 0.3 * rng.random(20) < 0.5 + LEAD[arm]).astype(int).tolist() for name, hard in HARD.items()}


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    """Import a study file into results/: its frames, without a report."""

    def run(**keys: object) -> Read:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(STUDY | keys), encoding="utf-8")
        return read_runs(path, tmp_path / "results")

    return run


def verdicts(frames: StudyFrames) -> pd.DataFrame:
    """The table of verdicts alone."""
    pair = pairs(frames)
    return confirmatory(frames, compared(frames, pair, seed_differences(frames, pair)))


def cells(frames: StudyFrames) -> pd.DataFrame:
    """The table of cells alone, primary metrics."""
    pair = pairs(frames)
    found = compare_cells(frames, pair, seed_differences(frames, pair))
    return found[found["primary"].astype(bool)]


def logs(root: Path, *, seeds: int = 2, folder: str = "runs/{arm}/seed{seed}", **log: object) -> None:
    """lm-eval's logs of both arms."""
    for arm in LEAD:
        for seed in range(seeds):
            Log(right(arm, seed), **log).write(root / folder.format(arm=arm, seed=seed))  # type: ignore[arg-type]


def records(root: Path, name: str = "mine") -> list[ImportedRecord]:
    home = root / "results" / name
    return [read(home, one.name) for one in sorted((home / "imported").iterdir())]


def test_verdicts_are_those_of_our_own_records_number_for_number(tmp_path: Path) -> None:
    """The planted study's longest scored runs, exported as lm-eval's files and imported: two models, two contrasts."""
    manifest = read_manifest(SYNTHETIC, "planted")
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    frames = replace(frames, runs=frames.runs[frames.runs["longest"] & (frames.runs["eval_state"] == "done")])
    export_frames(frames, Store(SYNTHETIC), tmp_path / "out")
    theirs = read_runs(tmp_path / "out" / "study.yaml", tmp_path / "results").frames
    test = ["low", "high", "block_se", "item_se", "found", "found_low", "found_high", "p", "p_holm"]
    counts = ["contrast", "verdict", "scope", "models", "blocks", "difference", "blocks_for", "blocks_against", "pairs_planned"]
    assert _same(*map(verdicts, (frames, theirs)), counts + test) == 2
    scores = ["contrast", "model", "benchmark", "metric", "items", "score_reference", "score_arm", "difference", "seeds", "verdict"]
    assert _same(*map(cells, (frames, theirs)), scores + test) == 12


def test_a_tuned_study_is_exported_with_the_runs_of_its_verdict(tmp_path: Path) -> None:
    """Its shared rate is a study of its own beside it; runs that only chose a rate are counted."""
    manifest = read_manifest(SYNTHETIC, "whole")
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    done = export_frames(frames, Store(SYNTHETIC), tmp_path / "out")
    assert any("runs, which only chose a learning rate: " in line for line in done.left_out)
    columns = ["contrast", "verdict", "difference", "low", "high", "block_se", "item_se", "p", "p_holm", "blocks", "pairs_planned"]
    for file, role, theirs in (("study", "tuned", "given"), ("shared", "shared", "shared")):
        found = verdicts(read_runs(tmp_path / "out" / f"{file}.yaml", tmp_path / "results").frames)
        own = verdicts(frames)
        pair = [table[table["role"] == name][columns].reset_index(drop=True) for table, name in ((own, role), (found, theirs))]
        if role == "shared":  # beside the verdict it is not corrected, and a pair of shorter trainings is planned there too
            pair = [one.drop(columns=["p_holm", "verdict", "pairs_planned"]) for one in pair]
        pd.testing.assert_frame_equal(pair[0], pair[1], rtol=1e-12, atol=0)
        assert len(pair[0]) > 0


def test_an_export_leads_out_of_no_folder(tmp_path: Path) -> None:
    manifest = read_manifest(SYNTHETIC, "planted")
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    frames = replace(frames, runs=frames.runs[frames.runs["eval_state"] == "done"].head(1).assign(arm="../../../../../out"))
    with pytest.raises(RecordError, match="nothing is read or written there"):
        export_frames(frames, Store(SYNTHETIC), tmp_path / "to")
    assert not list(tmp_path.rglob("*.json*"))


def test_two_runs_of_one_seed_are_no_pair_by_seed(tmp_path: Path, importer: Importer) -> None:
    for lr in ("1e-4", "3e-4"):
        logs(tmp_path, folder=f"runs/{{arm}}/lr{lr}/seed{{seed}}")
    with pytest.raises(BadInput) as caught:
        importer(runs="runs/{arm}/lr{lr}/seed{seed}", by_seed=True)
    assert str(caught.value) == (
        "by_seed: lora, lr 0.0001, seed 0 and lora, lr 0.0003, seed 0 are two runs of one seed: leave one out, or name the rates (lrs)"
    )
    found = importer(runs="runs/{arm}/lr{lr}/seed{seed}", by_seed=True, lrs=[1e-4]).frames
    assert verdicts(found)[["role", "pairs_planned"]].values.tolist() == [["given", 2]]


def _same(ours: pd.DataFrame, theirs: pd.DataFrame, columns: list[str]) -> int:
    """Compare two tables; returns their rows."""
    keys = [name for name in ("contrast", "model", "benchmark") if name in columns]
    one, other = (table[columns].sort_values(keys).reset_index(drop=True) for table in (ours, theirs))
    pd.testing.assert_frame_equal(one, other, rtol=1e-12, atol=0)
    return len(one)


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


def state(loss: float, *, lr: float = 2e-4) -> dict[str, Any]:
    """A trainer_state.json, as transformers writes it."""
    history = [{"loss": loss + 1, "grad_norm": 0.5, "learning_rate": lr, "step": 1}, {"eval_loss": loss, "step": 2}]
    return {"global_step": 2, "log_history": [*history, {"train_runtime": 12.5, "step": 2}]}


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


def scores_csv(root: Path, rows: list[tuple[object, ...]], *columns: str) -> None:
    pd.DataFrame(rows, columns=["arm", "seed", "benchmark", *columns]).to_csv(root / "scores.csv", index=False)


def unread(root: Path) -> list[str | None]:
    return [one.scores_error for one in records(root) if one.scores_state == "unreadable"]


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


@pytest.mark.parametrize("pairs", [[("olora", "olora")], [("olora", "lora")] * 2], ids=["itself", "twice"])
def test_contrasts_are_of_two_arms_each_once(pairs: list[tuple[str, str]], tmp_path: Path, importer: Importer) -> None:
    logs(tmp_path, seeds=1)
    with pytest.raises(BadInput) as caught:
        importer(contrasts=[{"arm": one, "reference": other} for one, other in pairs])
    said = f"contrasts: {' against '.join(pairs[0])} is no comparison, or stands there twice: two arms, each pair once"
    assert str(caught.value) == f"{tmp_path}/study.yaml: {said}"
