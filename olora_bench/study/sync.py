"""`study sync`: a study's W&B runs made again from its records where they are missing or not whole."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.config import Tracker
from olora_bench.errors import BadInput, RecordError
from olora_bench.identity import title
from olora_bench.process.progress import say
from olora_bench.store import RunRecord, Store
from olora_bench.study.jobs import Job
from olora_bench.study.open import find_and_open
from olora_bench.tracking import MirroredRun, rebuild
from olora_bench.tracking.shown import Shown, offline_files, read_offline, read_online

if TYPE_CHECKING:
    import pandas as pd

_SETTLE_S = 10.0  # W&B's own process ends an offline file a moment after the run


def sync_text(name: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """Compare every finished run of a study with its W&B run, make again what is missing or broken, and say what was done.

    Returns:
        The text, and whether every finished run's mirror is whole afterwards.

    Raises:
        BadInput: the study has no mirror to make.
    """
    study = find_and_open(name, overrides)
    grids = study.grids()
    tracker = grids.jobs[0].experiment.tracker
    if tracker.name == "none":
        raise BadInput(f"study {study.name} has tracker=none, so there is nothing to mirror: add tracker=wandb")
    tracker = tracker.model_copy(update={"mode": mode(tracker)})
    lines, whole, made, waiting = [], 0, 0, 0
    for job in grids.jobs:
        record, curve, trouble = _read(study.store, job)
        if trouble or record is None or record.status == "running":
            waiting += 1
            lines += [f"  {job.what.train_id} {title(job.experiment)}: {trouble}"] if trouble else []
            continue
        wrong = compare(tracker, job, record, curve, study.store)
        if wrong:
            say(f"{job.what.train_id} {title(job.experiment)}: {wrong}; making it again")
            _rebuild(tracker, job, record, curve, study.store, study.name)
            made += 1
            wrong = _settled(tracker, job, record, curve, study.store)
        whole += not wrong
        lines += [f"  {job.what.train_id} {title(job.experiment)}: still not whole: {wrong}"] if wrong else []
    finished = len(grids.jobs) - waiting
    head = f"study {study.name}: {whole} of {finished} finished runs are whole in W&B ({tracker.mode}), {made} made again just now"
    tail = [f"to upload: wandb sync {grids.jobs[0].experiment.machine.wandb_dir}/wandb/offline-run-*"] if tracker.mode == "offline" else []
    return "\n".join([head, *lines, *tail]), whole == finished


def mode(tracker: Tracker) -> Any:
    """`online` or `offline`: what the config says, else WANDB_MODE, else whether this user is logged in."""
    import wandb

    if tracker.mode != "auto":
        return tracker.mode
    return "offline" if os.environ.get("WANDB_MODE") == "offline" or not wandb.login(prompt=False, verify=False) else "online"


def compare(tracker: Tracker, job: Job, record: RunRecord, curve: pd.DataFrame, store: Store) -> str:
    """What is wrong with a run's mirror, in words; empty where it is whole."""
    shown: Shown | None
    if tracker.mode == "offline":
        files = offline_files(Path(job.experiment.machine.wandb_dir), record.train_id)
        if len(files) > 1:
            return f"W&B has {len(files)} offline copies of it"
        shown = read_offline(files[0]) if files else None
    else:
        shown = read_online(tracker, record.train_id)
    if shown is None:
        return "W&B does not have it"
    if shown.exit_code is None:
        return "its W&B run was never closed"
    steps = [row["step"] for row in shown.history if "step" in row]
    if steps != curve["step"].tolist():
        return f"W&B shows {len(steps)} points of the {len(curve)} of its curve" if len(steps) != len(curve) else "W&B shows other points"
    if any(shown.config.get(key) != value for key, value in json.loads(json.dumps(record.config)).items()):
        return "W&B shows another config"
    absent = [key for key in final_values(record, job, store) if key not in shown.summary]
    return f"W&B does not show {', '.join(absent)}" if absent else ""


def final_values(record: RunRecord, job: Job, store: Store) -> dict[str, float | str]:
    """What a mirror's summary holds at the end: metrics, scores as `benchmark/metric`, and the status."""
    scored = store.read_eval(record.train_id, None, job.what.eval_id) if job.what.eval_id is not None else None
    scores = {} if scored is None else {f"{b}/{m}": value for b, s in scored.scores.items() for m, value in s.metrics.items()}
    known: dict[str, float | str] = {key: value for key, value in record.metrics.items() if value is not None}
    return known | scores | {"status": record.status}


def _read(store: Store, job: Job) -> tuple[RunRecord | None, pd.DataFrame, str]:
    import pandas as pd

    try:
        record = store.read_run(job.what.train_id)
        curve = store.read_curve(job.what.train_id)
    except RecordError as error:
        return None, pd.DataFrame(), str(error)
    return record, pd.DataFrame({"step": []}) if curve is None else curve, ""


def _rebuild(tracker: Tracker, job: Job, record: RunRecord, curve: pd.DataFrame, store: Store, study: str) -> None:
    run = MirroredRun(record.train_id, title(job.experiment), record.config, study, job.experiment.machine.wandb_dir)
    rebuild(tracker, run, curve, final_values(record, job, store))


def _settled(tracker: Tracker, job: Job, record: RunRecord, curve: pd.DataFrame, store: Store) -> str:
    deadline = time.monotonic() + _SETTLE_S
    while (wrong := compare(tracker, job, record, curve, store)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return wrong
