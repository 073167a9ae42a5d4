"""Where each run of a study stands, read from its records and leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from olora_bench.errors import RecordError
from olora_bench.experiment import is_done
from olora_bench.provenance import harness
from olora_bench.store import EvalRecord, Holder, RunRecord, Store, read_lease
from olora_bench.study.grid import Job

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
        return Standing(job, "interrupted", f"started {starts} times{kept}", holder)
    return Standing(job, "missing")


def _other_harness(failed: RunRecord | EvalRecord) -> bool:
    return bool(failed.provenance.get("harness") != harness() or harness()["dirty"])


def standings(store: Store, jobs: Sequence[Job], *, thorough: bool = False) -> list[Standing]:
    """Where every run stands, in the study's order; `thorough` as for `standing`."""
    return [standing(store, job, thorough=thorough) for job in jobs]


def counts(found: Sequence[Standing]) -> str:
    """The states in words.

    >>> counts([])
    'nothing'
    """
    tally = Counter(s.state for s in found)
    order: tuple[State, ...] = ("done", "running", "interrupted", "missing", "diverged", "failed", "unreadable")
    return ", ".join(f"{tally[state]} {state}" for state in order if tally[state]) or "nothing"
