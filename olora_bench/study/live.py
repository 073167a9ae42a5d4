"""A study as it stands while it runs, read from its records, leases and checkpoints: for the page and for the terminal. Writes nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from olora_bench.analysis.decided import after_looks
from olora_bench.analysis.load import load_study
from olora_bench.errors import RecordError
from olora_bench.identity import title
from olora_bench.process.progress import TOLD_BY_SWEEP, duration, say
from olora_bench.report.page_data import CURVE_POINTS, thinned
from olora_bench.report.watch_page import Progress, Watched, WatchedRun
from olora_bench.store import OVER, Store, read_lease
from olora_bench.store.unfinished import CurveRow, rows_so_far
from olora_bench.study import estimate
from olora_bench.study.expand import Grids
from olora_bench.study.jobs import Job
from olora_bench.study.manifest import read_manifest
from olora_bench.study.open import OpenStudy, open_to_read
from olora_bench.study.pace import paces
from olora_bench.study.plan import judged_text, stages_text
from olora_bench.study.stages import Stage, stages
from olora_bench.study.states import Standing, standing
from olora_bench.study.status import changes_text, edges_text

PARTS = ("train", "tune", "report")
MOST_CURVES = 40
"""Of runs that are over, the last to end: with more the lines of those that run now would drown."""
_T = TypeVar("_T")
Curve = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass
class _Kept:
    """What costs time and changes seldom: each value with what it was made from."""

    values: dict[str, tuple[object, object]] = field(default_factory=dict)

    def get(self, name: str, made_from: object, make: Callable[[], _T]) -> _T:
        """The value, made anew where what it is made from has changed."""
        if name not in self.values or self.values[name][0] != made_from:
            self.values[name] = made_from, make()
        return self.values[name][1]  # type: ignore[return-value]


class Live:
    """One study, read again and again. What is over is read once, unless its record changes."""

    def __init__(self, name: str, overrides: Sequence[str]) -> None:
        self.name, self.overrides = name, tuple(overrides)
        self._kept = _Kept()
        self._over: dict[tuple[str, str | None], tuple[object, Standing]] = {}

    def opened(self) -> OpenStudy:
        """The study; opened anew where its file or its lock is another."""
        study = self._kept.get("study", None, lambda: open_to_read(self.name, self.overrides))
        seen = _stamps(study.file.path, study.home.folder / "lock.json")
        return self._kept.get("opened", seen, lambda: open_to_read(self.name, self.overrides))

    def watched(self) -> Watched:
        """The study now.

        Raises:
            BadInput: it cannot be carried out as written.
            RecordError: its lock or its manifest cannot be read.
        """
        study = self.opened()
        grids = study.grids()
        found = self.standings(study, grids)
        return Watched(
            study=study.name,
            title=grids.study.title,
            protocol=grids.study.protocol,
            arms=sorted({job.experiment.arm for job in grids.jobs}),
            runs=self._runs(study.store, found),
            left=self._left(study, found),
            look=[*(one.sentence() for one in stages_text(grids) if one.label == "searches"), *self._look(study, grids, found)],
            notes=[line.strip() for line in (*edges_text(grids), *changes_text(study))],
        )

    def standings(self, study: OpenStudy, grids: Grids) -> list[Standing]:
        """Where every run stands."""
        return [self._standing(study.store, job) for job in grids.jobs]

    def _standing(self, store: Store, job: Job) -> Standing:
        """As `states.standing`, a failed run as failed; of a run that is over, what was found when its record was written."""
        ids = job.what.train_id, job.what.eval_id
        seen, known = _stamps(store.run_dir(job.what.train_id) / "record.json"), self._over.get(ids)
        if known is not None and known[0] == seen:
            return known[1]
        found = standing(store, job, changed=False)
        if found.state in OVER:
            self._over[ids] = seen, found
        return found

    def _runs(self, store: Store, found: Sequence[Standing]) -> list[WatchedRun]:
        ends = {one.job.what.train_id: _stamps(store.run_dir(one.job.what.train_id) / "record.json") for one in found if one.state in OVER}
        latest = sorted(ends, key=lambda train_id: ends[train_id][0] or 0)[-MOST_CURVES:]
        return [self._run(store, one, ends.get(one.job.what.train_id), drawn=one.job.what.train_id in latest) for one in found]

    def _run(self, store: Store, one: Standing, ended: object, *, drawn: bool) -> WatchedRun:
        train_id, experiment = one.job.what.train_id, one.job.experiment
        run = WatchedRun(train_id, title(experiment), experiment.arm, one.state, reason=one.reason or "")
        if one.state == "running":
            return watched_run(store, one)
        if one.state not in OVER:
            return run
        loss = self._kept.get(f"loss {train_id}", ended, lambda: _loss(store, train_id))
        curve = self._kept.get(f"curve {train_id}", ended, lambda: _recorded(store, train_id)) if drawn else {}
        return replace(run, loss=loss, curve=curve)

    def _left(self, study: OpenStudy, found: Sequence[Standing]) -> str:
        """How long the rest takes, as `study status` says it; and that nobody is at work on it, where no lease is held."""
        left = [one.job for one in found if one.state in ("running", "interrupted", "missing")]
        if not left:
            return ""
        over = tuple(one.job.what.train_id for one in found if one.state in OVER)
        known = self._kept.get("paces", over, lambda: paces(study.store, left[0].experiment.machine))
        seconds, workers = estimate.seconds(left, [], known), sum(one.state == "running" for one in found)
        if not workers:
            return f"no process is at work; the rest takes one about {duration(seconds)}"
        return f"about {duration(seconds / workers)} left" + (f" by {workers} workers" if workers > 1 else "")

    def _look(self, study: OpenStudy, grids: Grids, found: Sequence[Standing]) -> list[str]:
        """What the next look asks, how many runs it waits for, and what a study of this size finds."""
        coming = stages(study.file, grids)
        done = {one.job.what.train_id for one in found if one.state in OVER}
        open_ = self._kept.get("open", tuple(sorted(done)), lambda: _open_contrasts(study, grids))
        stage = next((one for one in coming if any(job.what.train_id not in done for job in one.jobs)), coming[-1])
        said = [_look_said(stage, coming, done, open_)]
        power = self._kept.get(
            "power", study, lambda: judged_text(study, grids, coming, paces(study.store, grids.jobs[0].experiment.machine))
        )
        return said + [one.sentence() for one in power if one.label in ("power", "too few", "variances")]


def _stamps(*paths: Path) -> tuple[int | None, ...]:
    """When each file was last changed; None where there is none."""
    found: list[int | None] = []
    for path in paths:
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(None)
    return tuple(found)


def _open_contrasts(study: OpenStudy, grids: Grids) -> list[str]:
    """The primary contrasts that a further look may still decide; all of them where nothing has been judged yet."""
    primary = [f"{c.arm} vs {c.reference}" for c in grids.study.contrasts if c.kind == "primary"]
    manifest = read_manifest(study.home)
    if manifest is None or grids.study.seeds is None:
        return primary
    closed = [f"{one.arm} vs {one.reference}" for one in after_looks(load_study(study.store, manifest)) if one.next is None]
    return [one for one in primary if one not in closed]


def _look_said(stage: Stage, coming: Sequence[Stage], done: set[str], open_: Sequence[str]) -> str:
    waits = sum(job.what.train_id not in done for job in stage.jobs)
    which = f"Look {coming.index(stage) + 1} of {len(coming)}, at {stage.seeds} seeds a model" if len(coming) > 1 else "Its one look"
    if not open_:
        return f"{which}: no primary contrast is open."
    asked = f"asked whether {', '.join(open_)} differ" if len(open_) > 1 else f"asked whether {open_[0]} differ"
    ready = "every run of it is over" if not waits else f"{waits} of its {len(stage.jobs)} runs are still to come"
    return f"{which} is {asked.replace(' vs ', ' and ')}; {ready}."


def watched_run(store: Store, one: Standing) -> WatchedRun:
    """A run that somebody has in hand: who, how far, and its losses so far."""
    train_id, experiment, holder = one.job.what.train_id, one.job.experiment, one.holder
    rows = rows_so_far(store.checkpoint_path(train_id), train_id)
    run = WatchedRun(train_id, title(experiment), experiment.arm, one.state, progress=_progress(store, one.job, rows), curve=_so_far(rows))
    if holder is not None and holder.since is not None:
        since = (datetime.now(UTC) - datetime.fromisoformat(holder.since)).total_seconds()
        run = replace(run, where=f"process {holder.pid} on {holder.host}", since_s=max(since, 0.0))
    with suppress(RecordError):
        record = store.read_run(train_id)
        if record is not None and record.status in OVER:
            run = replace(run, curve=_recorded(store, train_id), loss=record.metrics.get("report_loss"))
    return run


def _progress(store: Store, job: Job, rows: Sequence[CurveRow]) -> Progress:
    """How far a run is that somebody has in hand."""
    with suppress(RecordError):
        record = store.read_run(job.what.train_id)
        if record is not None and record.status in OVER:
            return Progress("scoring", record.steps, float(record.steps or 0))
    steps = estimate.work(job.experiment, {}).steps
    if not rows:
        return Progress("scoring the untouched base" if _base_is_scored(store, job) else "starting", None, steps)
    last = rows[-1]
    left = last.wall_s / last.step * max(steps - last.step, 0) if last.step else None
    return Progress("training", last.step, max(steps, float(last.step)), left)


def _base_is_scored(store: Store, job: Job) -> bool:
    """Whether the process that has a run in hand is at the untouched base's scores."""
    if job.what.base_eval_id is None:
        return False
    own, base = (
        read_lease(store.run_dir(job.what.train_id)),
        read_lease(store.base_eval_dir(job.experiment.model.name, job.what.base_eval_id)),
    )
    return own is not None and base is not None and (own.pid, own.pid_space) == (base.pid, base.pid_space)


def _so_far(rows: Sequence[CurveRow]) -> Curve:
    return _curve([(part, row.step, getattr(row, f"{part}_loss")) for row in rows for part in PARTS])


def _recorded(store: Store, train_id: str) -> Curve:
    """The curve of a run that is over; empty where it cannot be read."""
    try:
        table = store.read_curve(train_id)
    except RecordError:
        return {}
    if table is None:
        return {}
    return _curve([(part, int(s), v) for part in PARTS for s, v in zip(table["step"], table[f"{part}_loss"], strict=True)])


def _curve(points: Sequence[tuple[str, int, float | None]]) -> Curve:
    """Each part's losses that were read, thinned to what a screen can show."""
    return {part: series for part in PARTS if (series := _series([(x, y) for name, x, y in points if name == part]))}


def _series(points: Sequence[tuple[int, float | None]]) -> tuple[list[float], list[float]] | None:
    import numpy as np

    known = [(float(x), float(y)) for x, y in points if y is not None and np.isfinite(y)]
    if not known:
        return None
    kept = thinned(np.array([y for _, y in known]), CURVE_POINTS)
    return [known[i][0] for i in kept], [known[i][1] for i in kept]


def _loss(store: Store, train_id: str) -> float | None:
    with suppress(RecordError):
        record = store.read_run(train_id)
        return None if record is None else record.metrics.get("report_loss")
    return None


@contextmanager
def workers_told(study: OpenStudy, every_s: float = 15.0) -> Iterator[None]:
    """While processes of this machine run a study from one terminal: every so often one line a worker, in place of all that each says of
    its progress. They inherit what tells them so."""
    jobs, over = study.grids().jobs, threading.Event()

    def tell() -> None:
        while not over.wait(every_s):
            for one in (standing(study.store, job) for job in jobs):
                if one.state == "running":
                    say(worker_line(watched_run(study.store, one)))

    thread = threading.Thread(target=tell, name="workers told", daemon=True)
    os.environ[TOLD_BY_SWEEP] = "1"
    thread.start()
    try:
        yield
    finally:
        over.set()
        os.environ.pop(TOLD_BY_SWEEP, None)
        thread.join()


def worker_line(run: WatchedRun) -> str:
    """A run that somebody has in hand, in one line for a terminal.

    >>> worker_line(WatchedRun("0" * 16, "tiny lora", "lora", "running", where="process 7 on here", progress=Progress("training", 3, 9.0)))
    'tiny lora: training, step 3 of 9 (process 7 on here)'
    """
    at, losses = run.progress or Progress("starting"), run.curve.get("train", ((), ()))[1]
    step = [f"step {at.step} of {at.steps:.0f}"] if at.step is not None and at.steps else []
    told = [at.phase, *step, *([f"loss {losses[-1]:.3f}"] if losses else [])]
    since = f", for {duration(run.since_s)}" if run.since_s is not None else ""
    return f"{run.title}: {', '.join(told)} ({run.where or 'a process that starts'}{since})"
