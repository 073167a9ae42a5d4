"""Which run of its study a process is at, for the lines that it prints. Read from the manifest, so that it holds under any launcher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from olora_bench.config import Experiment
from olora_bench.errors import RecordError
from olora_bench.experiment import identified
from olora_bench.progress import duration, label, say
from olora_bench.store import Store
from olora_bench.study.files import manifest_in
from olora_bench.study.names import homes


@contextmanager
def announced(experiment: Experiment, study: str | None) -> Iterator[None]:
    """Put `[run 2 of 4: olora seed 0]` in front of every line of a study's run, and say after it how long the rest takes.

    Args:
        study: the study that asks for the run; None for a run asked for alone, whose lines need no name.
    """
    results_dir = experiment.machine.results_dir
    manifests = [] if study is None else [manifest_in(home) for home in homes(results_dir, study)]
    listed = [[run["train_id"] for run in manifest["runs"]] for manifest in manifests if manifest is not None]
    train_id = identified(experiment)[0].train_id if listed else ""
    ids = next((found for found in listed if train_id in found), [])
    if train_id not in ids:  # a study that is being rewritten by another worker
        yield
        return
    what = f"{experiment.model.name} {experiment.arm} r{experiment.rank} lr{experiment.lr:g} seed {experiment.seed}"
    with label(f"run {ids.index(train_id) + 1} of {len(ids)}: {what}"):
        yield
    say(f"study {study}: {progress(results_dir, ids)}")


def progress(results_dir: Path, ids: list[str]) -> str:
    """How many of these runs are finished, and how long the others take if they take as long as those did."""
    store = Store(results_dir)
    seconds: list[float] = []
    finished = 0
    for train_id in ids:
        try:
            record = store.read_run(train_id)
        except RecordError:
            continue
        if record is not None and record.status in ("done", "diverged"):
            finished += 1
            seconds.append(sum(record.timings_s.get(phase, 0.0) for phase in ("data", "init", "train", "save")))
    left = len(ids) - finished
    each = sum(seconds) / len(seconds) if seconds else 0.0
    text = f"{finished} of {len(ids)} runs trained"
    return f"{text}, about {duration(left * each)} of training left, one after another" if left and each else text
