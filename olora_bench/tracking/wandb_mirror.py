"""Weights & Biases, behind a thread: whatever it does, the run neither waits for it nor hears of it but in a line of text."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from olora_bench.config import Tracker
from olora_bench.process.progress import say

_QUEUE_LIMIT = 10_000
_FINISH_WAIT_S = 10.0
_INIT_TIMEOUT_S = 8.0  # below the wait at the end, so that a run without a network is still kept offline

# Set once W&B let a run of this process wait until the end: later runs do not try the network again, or each would wait as long.
_gave_up = threading.Event()


@dataclass(frozen=True)
class MirroredRun:
    """What a mirror is told of a run before its first step.

    Attributes:
        id: the train_id, which becomes the id of the W&B run: the same run never appears twice.
        name: what people see.
        config: JSON values; must hold no secret.
        group: the study, if any.
        directory: where W&B keeps its files. An earlier offline copy of this run there, not uploaded yet, is replaced.
    """

    id: str
    name: str
    config: Mapping[str, JsonValue]
    group: str | None
    directory: Path


@dataclass(frozen=True)
class _End:
    summary: dict[str, object]
    failed: bool


class WandbMirror:
    """One W&B run. All calls into `wandb` happen in a daemon thread; `log` and `finish` never raise."""

    def __init__(self, tracker: Tracker, shown: MirroredRun, *, limit: int = _QUEUE_LIMIT, wait_s: float = _FINISH_WAIT_S) -> None:
        self._tracker, self._run, self._directory = tracker, shown, shown.directory.resolve()
        self._limit, self._wait_s = limit, wait_s
        self._rows: queue.SimpleQueue[tuple[int, dict[str, object]] | _End] = queue.SimpleQueue()
        self._given = self._shown = self._dropped = 0
        self._where = ""
        self._error = ""
        self._said_error = False
        self._thread = threading.Thread(target=self._work, name=f"wandb {shown.id}", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, object]) -> None:
        """Show the values of an optimiser step; null and NaN are left out. When W&B is far behind, the row is left out."""
        self._given += 1
        if self._error or self._rows.qsize() >= self._limit:
            self._dropped += 1
            self._say_error()
            return
        self._rows.put((step, _known(values) | {"step": step}))

    def finish(self, summary: Mapping[str, object], failed: bool = False) -> None:
        """Show the final values and close; waits `wait_s` seconds at most, then says what was left out."""
        self._rows.put(_End(_known(summary), failed))
        self._thread.join(self._wait_s)
        if self._thread.is_alive():
            _gave_up.set()
            left = self._given - self._shown
            say(f"W&B did not answer within {self._wait_s:.0f} s: {left} of {self._given} rows are not shown there. {self._truth()}")
        elif self._error:
            self._say_error()
        else:
            left_out = f", {self._dropped} of {self._given} rows left out because it was too slow" if self._dropped else ""
            say(f"W&B: {self._where}{left_out}")

    def _say_error(self) -> None:
        if self._error and not self._said_error:
            self._said_error = True
            say(f"W&B is lost ({self._error}). {self._truth()}")

    def _truth(self) -> str:
        return "The run goes on, and its record has everything"

    def _work(self) -> None:
        try:
            run = self._open()
            while not isinstance(item := self._rows.get(), _End):
                step, values = item
                run.log(values, step=step)
                self._shown += 1
            run.summary.update(item.summary)
            run.finish(exit_code=1 if item.failed else 0)
        except BaseException as error:  # W&B may also call sys.exit
            self._error = _first_line(error)

    def _open(self) -> Any:
        import wandb  # half a second, and it may be broken or absent

        mode, trouble = self._mode(wandb), ""
        try:
            run = self._init(wandb, mode)
        except Exception as error:  # no network, a wrong key
            if self._tracker.mode != "auto" or mode != "online":
                raise
            mode, trouble = "offline", f" ({_first_line(error)})"
            run = self._init(wandb, mode)
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        if mode == "offline":
            self._where = f"kept offline{trouble}; to upload it: wandb sync {Path(run.dir).parent}"
        else:
            self._where = run.url if mode == "online" else f"WANDB_MODE={mode}"
        return run

    def _mode(self, wandb: Any) -> str:
        if self._tracker.mode != "auto":
            return self._tracker.mode
        if _gave_up.is_set():
            return "offline"
        # wandb's own variable counts; without it, being logged in decides.
        return os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")

    def _init(self, wandb: Any, mode: str) -> Any:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_superseded()
        settings = {
            "console": "off",  # nothing that a program prints is sent
            "silent": True,
            "x_disable_meta": True,  # nor the command line, paths or the git remote, which may hold a password
            "disable_git": True,
            "save_code": False,
            "init_timeout": _INIT_TIMEOUT_S,
            "finish_timeout": self._wait_s,
        }
        known = {key: value for key, value in settings.items() if key in wandb.Settings.model_fields}
        return wandb.init(
            project=self._tracker.project,
            entity=self._tracker.entity,
            id=self._run.id,
            name=self._run.name,
            group=self._run.group,
            config=dict(self._run.config),
            dir=str(self._directory),
            mode=mode,
            resume="allow",
            reinit="create_new",  # the default hands out an earlier run that still hangs
            settings=wandb.Settings(**known),
        )

    def _remove_superseded(self) -> None:
        """Delete earlier offline copies of this run that were never uploaded: `wandb sync` would show their rows twice."""
        for folder in self._directory.glob(f"wandb/offline-run-*-{self._run.id}"):
            if not any(folder.glob("*.synced")):
                shutil.rmtree(folder, ignore_errors=True)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {str(key): value for key, value in values.items() if value is not None and value == value}
