"""The W&B mirror: what it holds, and that it never delays, stops or loses a run."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

from olora_bench.config import Tracker
from olora_bench.tracking import Mirror, MirroredRun, NoMirror, open_tracker, rebuild, wandb_mirror
from tests.fixture_types import Json

RUN = "00112233445566aa"
SECRET = "5ec2e7" * 7


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_mirror, "_gave_up", threading.Event())
    monkeypatch.setenv("WANDB_MODE", "offline")


def open_it(folder: Path, mode: Literal["online", "offline"] = "offline", **changes: object) -> Mirror:
    run = MirroredRun(RUN, "tiny olora", {"rank": 4, "init": {"name": "olora"}}, "study", folder)
    return open_tracker(Tracker(name="wandb", project="project", mode=mode), replace(run, **changes))


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def payloads(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log, 32 KiB blocks of (checksum 4, length 2, kind 1, data)."""
    content, at, partial = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if at + 7 + length > len(content):
            return  # still being written
        partial += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            yield partial
            partial = b""


def mirrored(path: Path) -> Json:
    """What a finished .wandb file tells W&B. W&B's own process ends the file a moment after `finish`."""
    deadline = time.monotonic() + 10
    while "exit_code" not in (seen := decoded(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


def decoded(path: Path) -> Json:
    """Id, config, history rows, summary and exit code, as far as they are written."""
    from wandb.proto import wandb_internal_pb2 as proto

    seen: Json = {"history": [], "summary": {}}
    for payload in payloads(path):
        record = proto.Record()
        record.ParseFromString(payload)
        if record.HasField("run"):
            seen |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group, "project": record.run.project}
            seen["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif record.HasField("history"):
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            seen["history"].append({key: value for key, value in row.items() if not key.startswith("_")})
        elif record.HasField("summary"):
            seen["summary"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update}
        elif record.HasField("exit"):
            seen["exit_code"] = record.exit.exit_code
    return seen


def test_offline_holds_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Id, name, group, config, every row once with its step, the summary; nulls and NaN are left out."""
    mirror = open_it(tmp_path)
    mirror.log(1, {"train_loss": 2.0, "tune_loss": None, "lr": 1e-4})
    mirror.log(2, {"train_loss": 1.5, "tune_loss": 1.4, "report_loss": float("nan")})
    mirror.finish({"report_loss": 1.25, "status": "done", "bleu": None})
    [path] = offline_files(tmp_path)
    seen = mirrored(path)
    assert (seen["id"], seen["name"], seen["group"], seen["project"]) == (RUN, "tiny olora", "study", "project")
    assert {key: seen["config"][key] for key in ("rank", "init")} == {"rank": 4, "init": {"name": "olora"}}
    assert seen["history"] == [{"train_loss": 2.0, "lr": 1e-4, "step": 1}, {"train_loss": 1.5, "tune_loss": 1.4, "step": 2}]
    assert seen["summary"]["report_loss"] == 1.25 and seen["summary"]["status"] == "done"
    assert seen["exit_code"] == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"W&B: kept offline; to upload it: wandb sync {path.parent}"


def test_a_failed_run_is_shown_as_failed(tmp_path: Path) -> None:
    """W&B sees a non-zero exit code."""
    open_it(tmp_path).finish({}, failed=True)
    assert mirrored(offline_files(tmp_path)[0])["exit_code"] == 1


def test_many_rows(tmp_path: Path) -> None:
    """A run of a thousand steps arrives whole and in order."""
    mirror = open_it(tmp_path)
    for step in range(1000):
        mirror.log(step, {"train_loss": 1 / (step + 1)})
    mirror.finish({})
    assert [row["step"] for row in mirrored(offline_files(tmp_path)[0])["history"]] == list(range(1000))


def test_the_same_run_again_replaces_its_offline_copy(tmp_path: Path) -> None:
    """Killed and started again: `wandb sync` would otherwise show the first steps twice. Other runs' copies stay."""
    for run_id in (RUN, "ffffffffffffffff", RUN):
        mirror = open_it(tmp_path, id=run_id)
        mirror.log(1, {"train_loss": 2.0})
        mirror.finish({})
    assert sorted(path.name for path in offline_files(tmp_path)) == [f"run-{RUN}.wandb", "run-ffffffffffffffff.wandb"]


def test_two_runs_at_once(tmp_path: Path) -> None:
    """One process may have two open mirrors; neither gets the other's rows."""
    first, second = open_it(tmp_path), open_it(tmp_path, id="ffffffffffffffff")
    first.log(1, {"train_loss": 1.0})
    second.log(1, {"train_loss": 2.0})
    first.finish({})
    second.finish({})
    assert {seen["id"]: seen["history"][0]["train_loss"] for seen in map(mirrored, offline_files(tmp_path))} == {
        RUN: 1.0,
        "ffffffffffffffff": 2.0,
    }


def test_rebuilt_from_the_record(tmp_path: Path) -> None:
    """Record and curve are enough to make the W&B run again, under the same id, in place of the first copy."""
    curve = pd.DataFrame({"step": [1, 2], "train_loss": [2.0, 1.5], "tune_loss": [float("nan"), 1.4]})
    open_it(tmp_path).finish({})
    run = MirroredRun(RUN, "n", {"rank": 4}, None, tmp_path)
    rebuild(Tracker(name="wandb", mode="offline"), run, curve, {"report_loss": 1.25, "piqa/acc": 0.5, "status": "failed"})
    [path] = offline_files(tmp_path)
    seen = mirrored(path)
    assert seen["history"] == [{"train_loss": 2.0, "step": 1}, {"train_loss": 1.5, "tune_loss": 1.4, "step": 2}]
    assert seen["summary"]["piqa/acc"] == 0.5 and seen["exit_code"] == 1


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Neither the key of W&B, nor another token in the environment or on the command line, is in any file."""
    code = f"""
from pathlib import Path
from olora_bench.config import Tracker
from olora_bench.tracking import Mirror, MirroredRun, open_tracker
mirror = open_tracker(Tracker(name="wandb"), MirroredRun("{RUN}", "n", {{}}, None, Path({str(tmp_path)!r})))
mirror.log(1, {{"train_loss": 2.0}})
mirror.finish({{}})
"""
    env = os.environ | {"WANDB_API_KEY": SECRET[:40], "HF_TOKEN": SECRET, "WANDB_MODE": "offline"}
    subprocess.run([sys.executable, "-c", code, f"--token={SECRET}"], env=env, check=True, capture_output=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET[:40].encode() in path.read_bytes()]


Does = Callable[..., object]
"""What a planted call does in the place of the real one."""


class Planted(types.ModuleType):
    """A wandb whose calls do as told."""

    def __init__(self, **does: Does) -> None:
        super().__init__("wandb")
        self.run = types.SimpleNamespace(
            dir="somewhere/files", url="https://wandb.example/run", summary={}, define_metric=lambda *_, **__: None,
            log=does.get("log", lambda *_, **__: None), finish=does.get("finish", lambda **_: None),
        )  # fmt: skip
        self.modes: list[str] = []
        self._init = does.get("init", lambda mode: None)
        self.Settings = type("Settings", (dict,), {"model_fields": {}})

    def login(self, **_: object) -> bool:
        return True

    def init(self, *, mode: str, **_: object) -> types.SimpleNamespace:
        self.modes.append(mode)
        self._init(mode)
        return self.run


Plant = Callable[..., Planted]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Put a planted wandb in the place of the real one."""

    def put(**does: Does) -> Planted:
        module = Planted(**does)
        monkeypatch.setitem(sys.modules, "wandb", module)
        monkeypatch.delenv("WANDB_MODE")
        return module

    return put


def raises(*_: object, **__: object) -> None:
    raise RuntimeError("planted\nsecond line")


def exits(*_: object, **__: object) -> None:
    sys.exit(1)


def hangs(*_: object, **__: object) -> None:
    time.sleep(600)


def session(tmp_path: Path, **changes: object) -> float:
    """Mirror five rows; returns the seconds that took the run."""
    start = time.monotonic()
    mirror = open_it(tmp_path, **changes)
    for step in range(5):
        mirror.log(step, {"train_loss": 1.0})
    mirror.finish({"report_loss": 1.0})
    return time.monotonic() - start


@pytest.mark.parametrize("call", ["init", "log", "finish"])
@pytest.mark.parametrize(("does", "reason"), [(raises, "RuntimeError: planted"), (exits, "SystemExit: 1")])
def test_wandb_breaks(tmp_path: Path, plant: Plant, capsys: pytest.CaptureFixture[str], call: str, does: Does, reason: str) -> None:
    """Whatever W&B raises, the run hears of it in one line, once."""
    plant(**{call: does})
    session(tmp_path, mode="online")
    assert capsys.readouterr().err.splitlines() == [f"W&B is lost ({reason}). The run goes on, and its record has everything"]


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_wandb_hangs(tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str) -> None:
    """The run waits a bounded time at its end only, and is told what is not shown."""
    plant(**{call: hangs})
    monkeypatch.setattr(wandb_mirror.WandbMirror.__init__, "__kwdefaults__", {"limit": 10, "wait_s": 0.3})
    assert session(tmp_path) < 2
    left = 0 if call == "finish" else 5
    assert capsys.readouterr().err.splitlines() == [
        f"W&B did not answer within 0 s: {left} of 5 rows are not shown there. The run goes on, and its record has everything"
    ]


def test_later_runs_do_not_wait_again(tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once W&B let a run wait, the next ones of this process stay offline."""
    module = plant(finish=hangs)
    monkeypatch.setattr(wandb_mirror.WandbMirror.__init__, "__kwdefaults__", {"limit": 10, "wait_s": 0.1})
    session(tmp_path, mode="auto")
    session(tmp_path, mode="auto")
    assert module.modes == ["online", "offline"]


def test_no_network(tmp_path: Path, plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """Logged in but cut off: the mirror is kept offline and says why."""

    def only_offline(mode: str) -> None:
        if mode == "online":
            raise ConnectionError("connection refused")

    module = plant(init=only_offline)
    session(tmp_path, mode="auto")
    assert module.modes == ["online", "offline"]
    assert capsys.readouterr().err == "W&B: kept offline (ConnectionError: connection refused); to upload it: wandb sync somewhere\n"


def test_a_slow_wandb_is_not_waited_for(tmp_path: Path, plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """When the queue is full, rows are left out instead of kept in ever more memory, and counted."""
    slow = threading.Event()
    plant(log=lambda *_, **__: slow.wait(10))
    mirror = wandb_mirror.WandbMirror(Tracker(name="wandb"), MirroredRun(RUN, "n", {}, None, tmp_path), limit=3, wait_s=10)
    for step in range(50):
        mirror.log(step, {"train_loss": 1.0})
    slow.set()
    mirror.finish({})
    shown = mirror._shown
    assert 3 <= shown <= 4
    assert capsys.readouterr().err == f"W&B: https://wandb.example/run, {50 - shown} of 50 rows left out because it was too slow\n"


def test_no_wandb_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the package the run goes on."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    session(tmp_path)
    assert capsys.readouterr().err.startswith("W&B is lost (ModuleNotFoundError: ")


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """W&B's files are not the run's concern."""
    (tmp_path / "taken").write_text("")
    session(tmp_path / "taken" / "wandb")
    assert capsys.readouterr().err.startswith("W&B is lost (NotADirectoryError: ")


def test_a_hanging_wandb_does_not_keep_the_process(tmp_path: Path) -> None:
    """The interpreter ends although the thread hangs."""
    (tmp_path / "wandb.py").write_text("import time\ntime.sleep(600)\n")
    code = """
from pathlib import Path
from olora_bench.config import Tracker
from olora_bench.tracking import Mirror, MirroredRun, WandbMirror
mirror = WandbMirror(Tracker(name="wandb"), MirroredRun("a", "n", {}, None, Path(".")), wait_s=0.2)
mirror.finish({})
"""
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path, check=True, timeout=30, capture_output=True
    )


def test_none_does_nothing(tmp_path: Path) -> None:
    """`tracker=none` writes no file."""
    mirror = open_tracker(Tracker(name="none"), MirroredRun(RUN, "n", {}, None, tmp_path))
    assert isinstance(mirror, NoMirror)
    mirror.log(1, {"train_loss": 2.0})
    mirror.finish({})
    assert list(tmp_path.iterdir()) == []


def test_light_imports() -> None:
    """A fresh interpreter that imports the tracking room has neither torch nor wandb."""
    code = "import sys, olora_bench.tracking; print([m for m in ('torch', 'wandb', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
