"""`study sync`: W&B runs made again from records where they are missing or broken, and only there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pandas as pd
import pytest
from planting import MakeStudy, PlantRun

from olora_bench.errors import BadInput
from olora_bench.run import compute
from olora_bench.store import Store
from olora_bench.study.open import OpenStudy
from olora_bench.study.sync import sync_text
from olora_bench.tracking.shown import offline_files, read_offline
from tests.fixture_types import Json

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
"""
MIRRORED = "tracker: {name: wandb, mode: offline}"


def curve(steps: int) -> pd.DataFrame:
    last = [None] * (steps - 1) + [1.4]
    return pd.DataFrame(
        {
            "step": range(steps), "tokens": range(steps), "wall_s": [0.5] * steps, "train_loss": [2.0 - i / 10 for i in range(steps)],
            "tune_loss": last, "report_loss": last, "lr": [1e-3] * steps, "grad_norm": [1.0] * steps,
        }
    )  # fmt: skip


def keep_curve(store: Store, train_id: str) -> None:
    record = store.read_run(train_id)
    assert record is not None
    store.write_run(record.model_copy(update={"parts": {"curve": store.write_curve(train_id, curve(4))}}))


@pytest.fixture
def finished(study: MakeStudy, plant_run: PlantRun, tmp_path: Path) -> OpenStudy:
    """A study of two finished runs with curves, mirrored nowhere yet."""
    opened = study(NODE, f"machine.wandb_dir={tmp_path / 'wandb'}", more=MIRRORED)
    for job in opened.grids().jobs:
        plant_run(job.what, 1.5)
        keep_curve(opened.store, job.what.train_id)
    return opened


def sync(opened: OpenStudy) -> tuple[str, bool]:
    return sync_text(str(opened.file.path), opened.file.overrides)


def test_missing_and_broken_offline_runs_are_made_again_and_whole_ones_left_alone(finished: OpenStudy, tmp_path: Path) -> None:
    """First both are made; then one is cut off and the other left: only the first is made again; then there is nothing to do."""
    text, whole = sync(finished)
    assert whole and text.startswith("study throwaway: 2 of 2 finished runs are whole in W&B (offline), 2 made again just now"), text
    first, second = [offline_files(tmp_path / "wandb", job.what.train_id) for job in finished.grids().jobs]
    assert len(first) == len(second) == 1
    shown, record = read_offline(first[0]), finished.store.read_run(finished.grids().jobs[0].what.train_id)
    assert record is not None
    assert [row["step"] for row in shown.history] == [0, 1, 2, 3]
    assert {key: shown.config[key] for key in record.config} == json.loads(json.dumps(record.config))
    assert (shown.run_id, shown.group, shown.summary["status"], shown.exit_code) == (record.train_id, "throwaway", "done", 0)

    first[0].write_bytes(first[0].read_bytes()[:3000])
    kept = second[0].stat().st_mtime_ns
    text, whole = sync(finished)
    assert whole and "1 made again just now" in text
    assert second[0].stat().st_mtime_ns == kept
    assert "2 of 2 finished runs are whole in W&B (offline), 0 made again just now" in sync(finished)[0]


def test_two_offline_copies_of_a_run_become_one(finished: OpenStudy, tmp_path: Path) -> None:
    """As they are left when files of two machines are brought together: uploaded, every point would be there twice."""
    sync(finished)
    train_id = finished.grids().jobs[0].what.train_id
    [path] = offline_files(tmp_path / "wandb", train_id)
    shutil.copytree(path.parent, path.parent.parent / f"offline-run-20000101_000000-{train_id}")
    text, whole = sync(finished)
    assert whole and "1 made again just now" in text
    assert len(offline_files(tmp_path / "wandb", train_id)) == 1


def test_a_run_has_one_name_live_and_made_again(finished: OpenStudy, tmp_path: Path) -> None:
    """W&B shows a run made again from its record under the name that it had while it trained."""
    job = finished.grids().jobs[1]
    compute._open_mirror(job.what, "throwaway").finish({})
    [live] = offline_files(tmp_path / "wandb", job.what.train_id)
    deadline = time.monotonic() + 30
    while read_offline(live).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.05)  # W&B's own process ends an offline file a moment after the run
    name = read_offline(live).name
    assert "2 made again just now" in sync(finished)[0]  # within one second in the very folder of the live run, which W&B names by it
    [again] = offline_files(tmp_path / "wandb", job.what.train_id)
    assert read_offline(again).name == name == "tiny_tinyllama olora r4 lr 3e-4 seed 0"


def test_a_study_without_a_tracker_has_nothing_to_mirror(study: MakeStudy) -> None:
    with pytest.raises(BadInput) as error:
        sync(study(NODE))
    assert str(error.value) == "study throwaway has tracker=none, so there is nothing to mirror: add tracker=wandb"


class Server(types.ModuleType):
    """A planted wandb with a server that keeps runs, and drops steps that it has already, as the real one does."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: dict[str, types.SimpleNamespace] = {}
        self.started: list[str] = []
        self.Settings = type("Settings", (dict,), {"model_fields": {}})
        self.Api = lambda timeout: types.SimpleNamespace(default_entity="me", run=self.find)

    def login(self, **_: object) -> bool:
        return True

    def find(self, path: str) -> types.SimpleNamespace:
        run_id = path.split("/")[-1]
        if run_id not in self.runs:
            raise ValueError(f"Could not find run <Run {path} (not found)>")
        return self.runs[run_id]

    def init(self, *, id: str, name: str, group: str, config: Json, **_: object) -> types.SimpleNamespace:
        self.started.append(id)
        rows: list[Json] = []
        run = self.runs.setdefault(
            id, types.SimpleNamespace(name=name, group=group, state="running", summary={}, url="u", dir="d/files", rows=rows)
        )
        run.config = config

        def log(values: Json, step: int) -> None:
            if not run.rows or step > run.rows[-1]["step"]:
                run.rows.append(values)

        def finish(exit_code: int) -> None:
            run.state = "finished" if exit_code == 0 else "failed"

        run.log, run.finish, run.define_metric, run.scan_history = log, finish, lambda *_, **__: None, lambda: run.rows
        return run


def test_online_runs_that_are_missing_or_were_cut_off_are_completed(
    study: MakeStudy, plant_run: PlantRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is not there, one was cut off after two steps; afterwards every point is there once, and a second sync does nothing."""
    errors = types.ModuleType("wandb.errors")
    errors.CommError = type("CommError", (Exception,), {})  # type: ignore[attr-defined]
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server)
    monkeypatch.setitem(sys.modules, "wandb.errors", errors)
    monkeypatch.delenv("WANDB_MODE")
    opened = study(NODE, f"machine.wandb_dir={tmp_path / 'wandb'}", more="tracker: {name: wandb, mode: online}")
    jobs = opened.grids().jobs
    for job in jobs:
        plant_run(job.what, 1.5)
        keep_curve(opened.store, job.what.train_id)
    cut = server.init(id=jobs[1].what.train_id, name="n", group="throwaway", config={})
    cut.log({"step": 0}, step=0)
    cut.log({"step": 1}, step=1)
    assert "2 of 2 finished runs are whole in W&B (online), 2 made again just now" in sync(opened)[0]
    assert {run_id: [row["step"] for row in run.rows] for run_id, run in server.runs.items()} == {
        job.what.train_id: [0, 1, 2, 3] for job in jobs
    }
    assert "0 made again" in sync(opened)[0] and len(server.started) == 3


def test_offline_files_of_a_study_that_was_killed_and_resumed(study: MakeStudy, tmp_path: Path, cache_dir: Path) -> None:
    """One run an id, the whole config, every point of the curve once: also for the run that was killed between two checkpoints."""
    more = f"{MIRRORED}\nrecipe: {{steps: 40, loss_evaluations: 3}}\nlr: 1.0e-3"
    opened = study(NODE, f"machine.wandb_dir={tmp_path / 'wandb'}", more=more)
    overrides = [
        *opened.file.overrides, f"machine.cache_dir={cache_dir}", "machine.device=cpu", "machine.threads=1", "machine.checkpoint_share=1",
    ]  # fmt: skip
    command = [sys.executable, "-m", "olora_bench.study", "run", str(opened.file.path), *overrides]
    # Without this process's own W&B service, which would outlive the kill.
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")} | {"WANDB_MODE": "offline"}
    victim = opened.store.checkpoint_path(opened.grids().jobs[0].what.train_id)
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not victim.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert victim.exists(), "killed in the middle"
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text, whole = sync(opened)  # a W&B that was too slow for this machine is made up for; else there is nothing to do
    assert whole, text + done.stderr[-2000:]
    for job in opened.grids().jobs:
        record, points = opened.store.read_run(job.what.train_id), opened.store.read_curve(job.what.train_id)
        assert record is not None and points is not None and len(points) == 41
        [path] = offline_files(tmp_path / "wandb", job.what.train_id)
        shown = read_offline(path)
        assert shown.run_id == job.what.train_id
        assert {key: shown.config[key] for key in record.config} == json.loads(json.dumps(record.config))
        assert [row["step"] for row in shown.history] == points["step"].tolist()
        assert [row["train_loss"] for row in shown.history[1:]] == points["train_loss"].tolist()[1:]
        assert shown.summary["status"] == "done"
