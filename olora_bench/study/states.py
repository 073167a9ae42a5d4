"""Where each run of a study stands, read from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from olora_bench.errors import RecordError
from olora_bench.experiment import is_done
from olora_bench.provenance import harness
from olora_bench.store import Store
from olora_bench.study.grid import Job

State = Literal["done", "diverged", "missing", "failed", "unreadable"]


@dataclass(frozen=True)
class Standing:
    """A job, its state, and for a failed, diverged or unreadable one the reason."""

    job: Job
    state: State
    reason: str | None = None


def standing(store: Store, job: Job, *, retry: bool = False) -> Standing:
    """Where one run stands.

    A failed run is tried again when asked (`retry`) or when the harness is not the one it failed under; until then it stays failed.
    """
    try:
        record = store.read_run(job.what.train_id)
        if record is not None and record.status == "failed" and not retry:
            if record.provenance.get("harness") == harness() and not harness()["dirty"]:
                return Standing(job, "failed", (record.error or "").splitlines()[0])
            return Standing(job, "missing")
        if is_done(store, job.what):
            assert record is not None
            return Standing(job, "diverged" if record.status == "diverged" else "done", record.error)
    except RecordError as error:
        return Standing(job, "unreadable", str(error))
    return Standing(job, "missing")


def standings(store: Store, jobs: Sequence[Job], *, retry: bool = False) -> list[Standing]:
    """Where every run stands, in the study's order."""
    return [standing(store, job, retry=retry) for job in jobs]


def counts(found: Sequence[Standing]) -> str:
    """The states in words.

    >>> counts([])
    'nothing'
    """
    tally = Counter(s.state for s in found)
    order: tuple[State, ...] = ("done", "missing", "diverged", "failed", "unreadable")
    return ", ".join(f"{tally[state]} {state}" for state in order if tally[state]) or "nothing"
