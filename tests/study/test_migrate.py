"""Results of RESULTS_VERSION 2 come out under the ids of version 3, with the numbers that they had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from olora_bench.errors import BadInput
from olora_bench.identity import digest
from olora_bench.store import Store, atomic_write
from olora_bench.study.migrate import migrate
from tests.fixture_types import Json

RESULTS = Path(__file__).parents[2] / "results"
RUN = next(
    run for run in json.loads((RESULTS / "smollm2" / "manifest.json").read_bytes())["runs"] if run["eval_id"] and run["arm"] == "olora"
)


def aged(raw: Json, key: str, commit: str | None) -> Json:
    """A record as schema 1 and RESULTS_VERSION 2 had it."""
    identity = json.loads(json.dumps(raw["identity"])) | {"results_version": 2}
    identity.get("init", {}).pop("code", None)
    identity.get("data", {}).pop("tasks", None)
    for task in identity.get("suite", {}).get("benchmarks", {}).values():
        for name in set(task) - {"task", "version"}:
            del task[name]
    kept = {name: value for name, value in raw.items() if name not in ("parts", "digest")}
    kept["provenance"] = {**raw["provenance"], "harness": {"commit": commit, "dirty": False}}
    return kept | {"schema_version": 1, "identity": identity, key: digest(identity)}


def old_results(folder: Path, commit: str | None) -> Path:
    """A committed run, its evaluation and its base's, as they were before."""
    made = Store(RESULTS)
    source = made.run_dir(RUN["train_id"])
    run = aged(json.loads((source / "record.json").read_bytes()), "train_id", commit)
    home = folder / "runs" / run["train_id"]
    shutil.copytree(source, home)
    shutil.rmtree(home / "evals")
    atomic_write(home / "record.json", json.dumps(run).encode())
    evaluation = json.loads((made.run_eval_dir(RUN["train_id"], RUN["eval_id"]) / "record.json").read_bytes())
    evaluation["identity"]["train_id"] = evaluation["train_id"] = run["train_id"]
    evaluation = aged(evaluation, "eval_id", commit)
    shutil.copytree(made.run_eval_dir(RUN["train_id"], RUN["eval_id"]), home / "evals" / evaluation["eval_id"])
    atomic_write(home / "evals" / evaluation["eval_id"] / "record.json", json.dumps(evaluation).encode())
    return folder


def test_a_run_and_its_scores_come_out_as_they_are_committed(tmp_path: Path) -> None:
    assert migrate(old_results(tmp_path, "HEAD")) == 1
    store, made = Store(tmp_path), Store(RESULTS)
    run, evaluation = store.read_run(RUN["train_id"]), store.read_eval(RUN["train_id"], None, RUN["eval_id"])
    was = made.read_eval(RUN["train_id"], None, RUN["eval_id"])
    assert run is not None and evaluation is not None and was is not None
    assert (run.metrics, evaluation.scores) == (made.read_run(RUN["train_id"]).metrics, was.scores)  # type: ignore[union-attr]
    curve, items = store.read_curve(RUN["train_id"]), store.read_items(RUN["train_id"], None, RUN["eval_id"])
    assert curve is not None and items is not None and len(items) == sum(score.items for score in was.scores.values())


def test_a_run_of_code_that_was_never_committed_is_refused(tmp_path: Path) -> None:
    """Nothing tells what its init did."""
    with pytest.raises(BadInput, match=r"^run [0-9a-f]{16}: its code is no commit .*Run it again$"):
        migrate(old_results(tmp_path, None))
