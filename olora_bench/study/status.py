"""Where a study stands, in words: what is done, who runs what, what failed and why, how long is left; and which of its runs a run is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from olora_bench.config import Experiment
from olora_bench.config.lines import typed
from olora_bench.errors import RecordError
from olora_bench.identity import lr_text, title
from olora_bench.process.progress import duration, say
from olora_bench.process.progress import label as labelled
from olora_bench.run.experiment import identified
from olora_bench.store import OVER, Store
from olora_bench.study import estimate
from olora_bench.study.expand import Grids
from olora_bench.study.labelled import Labelled
from olora_bench.study.locked import since_locked
from olora_bench.study.manifest import manifest_in
from olora_bench.study.names import homes
from olora_bench.study.open import OpenStudy, open_to_read
from olora_bench.study.pace import paces
from olora_bench.study.plan import stages_text
from olora_bench.study.states import Standing, counts, standings


def status_text(name: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """A study's status, and whether it is complete, as `complete.lacking` says it of frames: a diverged run is finished.

    Raises:
        BadInput: there is no such study, or it cannot be carried out as written.
    """
    study = open_to_read(name, overrides)
    grids = study.grids()
    found = standings(study.store, grids.jobs, changed=False, thorough=True)
    by_state = {state: [s for s in found if s.state == state] for state in dict.fromkeys(s.state for s in found)}
    lines = [f"study {study.name}: {len(found)} runs: {counts(found)}", *(line for one in stages_text(grids) for line in one.lines())]
    lines += edges_text(grids)
    lines += changes_text(study)
    for state in ("running", "interrupted", "failed", "unreadable", "diverged"):
        lines += [f"  {label(s)}" for s in by_state.get(state, [])]
    left = [s.job for s in found if s.state in ("running", "interrupted", "missing")]
    if left:
        known = paces(study.store, left[0].experiment.machine)
        seconds = estimate.seconds(left, [], known)
        workers = len(by_state.get("running", []))
        by = f" by {workers} workers at once" if workers > 1 else "" if workers else " by one process; none is at work now"
        source = estimate.source([job.experiment for job in left], known)
        lines += Labelled("time left", (f"{duration(seconds / max(1, workers))}{by} ({source})",)).lines()
    if by_state.get("failed"):
        retry = typed("olora_bench.study", "retry", name, *overrides)
        lines.append(f"failed runs are tried again by: {retry} (by `run` too, where the code is not the one they failed under)")
    return "\n".join(lines), by_state.keys() <= set(OVER) and grids.settled


def changes_text(study: OpenStudy) -> list[str]:
    """What of the study has changed since its first run."""
    since = since_locked(study.home, study.file.path)
    if not since.changes:
        return []
    from olora_bench.words.declared import CHANGED, since_text  # brings pandas, which a status does without

    return [f"{CHANGED}: {since_text(since.changes)}"]


def label(one: Standing) -> str:
    """A run's id, name, state and reason in one line."""
    since = ""
    if one.state == "running" and one.holder is not None and one.holder.since is not None:
        since = f", for {duration((datetime.now(UTC) - datetime.fromisoformat(one.holder.since)).total_seconds())}"
    return f"{one.job.what.train_id} {title(one.job.experiment)}: {one.state}" + (f": {one.reason}" if one.reason else "") + since


def edges_text(grids: Grids) -> list[str]:
    """The arms of a tuned study that get no tuned verdict, with the reason."""
    ends = {"low": "lowest", "high": "highest"}
    return [
        f"  {cell.job.experiment.model.name} r{cell.job.experiment.rank} {one.arm}: no tuned verdict, "
        f"its best lr {lr_text(one.best)} is still the {ends[one.edge]} of {len(one.tried)} tried"
        for cell in grids.searches
        for one in cell.arms
        if one.edge is not None and one.best is not None
    ]


@contextmanager
def announced(experiment: Experiment, study: str | None) -> Iterator[None]:
    """Put `[run 2 of 4: olora seed 0]` in front of every line of a study's run, and say after it how long the rest takes.

    Args:
        study: the study that asks for the run; None for a run asked for alone, whose lines need no name.
    """
    results_dir = experiment.machine.results_dir
    listed = [] if study is None else [_ids(home) for home in homes(results_dir, study)]
    train_id = identified(experiment)[0].train_id if listed else ""
    ids = next((found for found in listed if train_id in found), [])
    if train_id not in ids:  # a study that is being rewritten by another worker
        yield
        return
    with labelled(f"run {ids.index(train_id) + 1} of {len(ids)}: {title(experiment)}"):
        yield
    say(f"study {study}: {progress(results_dir, ids)}")


def _ids(home: Path) -> list[str]:
    """The runs that a manifest lists; none where it cannot be read: a label is no reason to leave a run undone."""
    with suppress(RecordError):
        manifest = manifest_in(home)
        return [] if manifest is None else [run.train_id for run in manifest.runs]
    return []


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
        if record is not None and record.status in OVER:
            finished += 1
            seconds.append(sum(record.timings_s.get(phase, 0.0) for phase in ("data", "init", "train", "save")))
    left = len(ids) - finished
    each = sum(seconds) / len(seconds) if seconds else 0.0
    text = f"{finished} of {len(ids)} runs trained"
    return f"{text}, about {duration(left * each)} of training left, one after another" if left and each else text
