"""Where a study stands, in words: what is done, who runs what since when, what failed and why, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from olora_bench.progress import duration
from olora_bench.study import estimate
from olora_bench.study.complete import OVER
from olora_bench.study.grid import Grids, Job
from olora_bench.study.plan import stages_text
from olora_bench.study.stages import find_and_open
from olora_bench.study.states import Standing, counts, standings


def status_text(name: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """A study's status, and whether it is complete, as `complete.lacking` says it of frames: a diverged run is finished.

    Raises:
        BadInput: there is no such study, or it cannot be carried out as written.
    """
    study = find_and_open(name, overrides)
    grids = study.grids()
    found = standings(study.store, grids.jobs, thorough=True)
    by_state = {state: [s for s in found if s.state == state] for state in dict.fromkeys(s.state for s in found)}
    lines = [f"study {study.name}: {len(found)} runs: {counts(found)}", *stages_text(grids), *edges_text(grids)]
    for state in ("running", "interrupted", "failed", "unreadable", "diverged"):
        lines += [f"  {label(s)}" for s in by_state.get(state, [])]
    left = [s.job for s in found if s.state in ("running", "interrupted", "missing")]
    if left:
        device = grids.jobs[0].experiment.machine.device
        hours = estimate.seconds(left, [], estimate.speeds(study.store, device), device)
        workers = max(1, len(by_state.get("running", [])))
        shared = f" by {workers} workers at once" if workers > 1 else ""
        lines.append(f"time left     {duration(hours.seconds / workers)}{shared} ({hours.source})")
    if by_state.get("failed"):
        lines.append(f"failed runs are tried again by: python -m olora_bench.study retry {name}")
    return "\n".join(lines), by_state.keys() <= set(OVER) and grids.settled


def title(job: Job) -> str:
    """What people call a run."""
    experiment = job.experiment
    return f"{experiment.model.name} {experiment.arm} r{experiment.rank} lr{experiment.lr:g} seed {experiment.seed}"


def label(one: Standing) -> str:
    """A run's id, name, state and reason in one line."""
    since = ""
    if one.state == "running" and one.holder is not None and one.holder.since is not None:
        since = f", for {duration((datetime.now(UTC) - datetime.fromisoformat(one.holder.since)).total_seconds())}"
    return f"{one.job.what.train_id} {title(one.job)}: {one.state}" + (f": {one.reason}" if one.reason else "") + since


def edges_text(grids: Grids) -> list[str]:
    """The arms of a tuned study that get no tuned verdict, with the reason."""
    ends = {"low": "lowest", "high": "highest"}
    return [
        f"  {cell.job.experiment.model.name} r{cell.job.experiment.rank} {one.arm}: no tuned verdict, "
        f"its best lr {one.best:g} is still the {ends[one.edge]} of {len(one.tried)} tried"
        for cell in grids.searches
        for one in cell.arms
        if one.edge is not None
    ]
