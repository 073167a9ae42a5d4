"""Where each run of a study stands, read from its records and leases, and which of them to launch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from olora_bench.errors import RecordError
from olora_bench.process.progress import say
from olora_bench.process.provenance import harness
from olora_bench.run.experiment import CRASHES_THAT_PARK, is_done, mend, tidy
from olora_bench.store import OVER, EvalRecord, Holder, RunRecord, Store, read_lease
from olora_bench.study.jobs import Job

State = Literal["done", "running", "interrupted", "missing", "diverged", "failed", "unreadable"]


@dataclass(frozen=True)
class Standing:
    """A job and its state: `running` has a live lease, `interrupted` was started and has none, `missing` never was.

    `reason`: why it failed, diverged or cannot be read; who runs it and since when; how often it was started. `holder`: of its lease,
    alive where it is running; one that died without giving the lease back where it was interrupted.
    """

    job: Job
    state: State
    reason: str | None = None
    holder: Holder | None = None


def standing(store: Store, job: Job, *, retry: bool = False, changed: bool = True, thorough: bool = False) -> Standing:
    """Where one run stands.

    A failed run is to be tried again, so `missing`, when asked (`retry`), or when the harness is not the one it failed under and
    `changed` lets that count; until then it stays failed. A finished run's adapter is compared with its digest when asked (`thorough`).
    """
    what = job.what
    try:
        record = store.read_run(what.train_id)
        if record is not None and is_done(store, what):
            if thorough and (wrong := store.damage(record, thorough=True)) is not None:
                return Standing(job, "unreadable", wrong)
            return Standing(job, "diverged" if record.status == "diverged" else "done", record.error)
        scored = store.read_eval(what.train_id, None, what.eval_id) if record is not None and what.eval_id is not None else None
    except RecordError as error:
        return Standing(job, "unreadable", str(error))
    holder = read_lease(store.run_dir(what.train_id))
    if holder is not None and holder.alive():
        return Standing(job, "running", f"process {holder.pid} on {holder.host} since {holder.since}", holder)
    failed: RunRecord | EvalRecord | None = next((r for r in (record, scored) if r is not None and r.status == "failed"), None)
    if failed is not None:
        if retry or (changed and _other_harness(failed)):
            return Standing(job, "missing")
        return Standing(job, "failed", (failed.error or "").splitlines()[0])
    if holder is not None or (record is not None and record.status == "running"):
        starts = 0 if record is None else record.attempts
        kept = ", goes on from its checkpoint" if store.has_checkpoint(what.train_id) else ""
        return Standing(job, "interrupted", f"started {starts} time{'s' * (starts != 1)}{kept}", holder)
    return Standing(job, "missing")


def _other_harness(failed: RunRecord | EvalRecord) -> bool:
    return bool(failed.provenance.get("harness") != harness() or harness()["dirty"])


def standings(store: Store, jobs: Sequence[Job], *, changed: bool = True, thorough: bool = False) -> list[Standing]:
    """Where every run stands, in the study's order; `changed` and `thorough` as for `standing`."""
    return [standing(store, job, changed=changed, thorough=thorough) for job in jobs]


def counts(found: Sequence[Standing]) -> str:
    """The states in words.

    >>> counts([])
    'nothing'
    """
    tally = Counter(s.state for s in found)
    order: tuple[State, ...] = ("done", "running", "interrupted", "missing", "diverged", "failed", "unreadable")
    return ", ".join(f"{tally[state]} {state}" for state in order if tally[state]) or "nothing"


_POLL_S = 1.0
_Piece = tuple[str, str | None, int]
"""What is launched: a run's id, that of its evaluation, and of how many runs of its block the end is known."""


class Worklist:
    """One sweep's memory of what it launched and what it left to others.

    A run is launched once, and again only if its process died and left its lease (after `CRASHES_THAT_PARK` times in a row it gives
    itself up), or if the other worker that had it did not finish it.
    """

    def __init__(self, store: Store, *, retry: bool = False) -> None:
        self.store, self.retry = store, retry
        self._launched: Counter[_Piece] = Counter()
        self._tried: set[str] = set()
        self._left_to_others: set[str] = set()
        self._elsewhere: set[tuple[str, ...]] = set()
        self._over: Counter[tuple[str, ...]] = Counter()
        self._said: set[str] = set()
        self._mended: set[str] = set()
        self._tidied: set[str] = set()

    def look(self, jobs: Sequence[Job]) -> tuple[list[Standing], list[Job]]:
        """Where the runs stand, and those to launch now. A finished run is rid of what a killed worker left behind; with `retry`, what is
        damaged is set aside first."""
        found = []
        for job in jobs:
            fresh = job.what.train_id not in self._tried
            if self.retry and fresh and job.what.train_id not in self._mended:
                self._mended.add(job.what.train_id)
                for path in mend(self.store, job.what):
                    say(f"{path} is damaged; it is set aside as {path.name}.damaged and computed again")
            found.append(standing(self.store, job, retry=self.retry and fresh, changed=fresh))
        for one in found:
            if one.state in OVER and one.job.what.train_id not in self._tidied:
                self._tidied.add(one.job.what.train_id)
                tidy(self.store, one.job.what)
        self._left_to_others |= {s.job.what.train_id for s in found if s.state == "running"}
        # Another worker's block is all its own: the finalist that it keeps is scored where it was trained.
        self._elsewhere = {s.job.block.overrides for s in found if s.job.block is not None and s.state == "running"}
        self._over = Counter(s.job.block.overrides for s in found if s.job.block is not None and s.state in OVER)
        return found, [s.job for s in found if self._due(s)]

    def launching(self, jobs: Sequence[Job]) -> None:
        """Remember that these are handed to the launcher now."""
        for job in jobs:
            self._launched[self._piece(job)] += 1
            self._tried.add(job.what.train_id)
            self._left_to_others.discard(job.what.train_id)

    def _piece(self, job: Job) -> _Piece:
        # A run of a block is begun anew with what became known of the others: it may be the one that is kept by now.
        return job.what.train_id, job.what.eval_id, 0 if job.block is None else self._over[job.block.overrides]

    def wait(self, found: Sequence[Standing]) -> bool:
        """Wait until one of the runs in other workers' hands leaves them; false when there are none."""
        elsewhere = [s for s in found if s.state == "running"]
        new = [s for s in elsewhere if s.job.what.train_id not in self._said]
        if new:
            runs = "; ".join(f"{s.job.what.train_id} ({s.reason})" for s in new)
            say(f"waiting for other workers, whose runs are taken over should they die: {runs}")
            self._said |= {s.job.what.train_id for s in new}
        while elsewhere:
            for one in elsewhere:
                holder = read_lease(self.store.run_dir(one.job.what.train_id))
                if holder is None or not holder.alive():
                    return True
            time.sleep(_POLL_S)
        return False

    def _due(self, one: Standing) -> bool:
        train_id = one.job.what.train_id
        if one.state not in ("missing", "interrupted") or (one.job.block is not None and one.job.block.overrides in self._elsewhere):
            return False
        launched, crashed = self._launched[self._piece(one.job)], one.holder is not None
        return launched == 0 or train_id in self._left_to_others or (crashed and launched <= CRASHES_THAT_PARK)
