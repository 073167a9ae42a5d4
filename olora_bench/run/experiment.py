"""The road of one experiment: identify, stop if done, check, take the lease; then `compute` does what needs torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from olora_bench import assets as asset_room
from olora_bench.assets import Asset
from olora_bench.config import Experiment
from olora_bench.config.steps import never_warm
from olora_bench.errors import RecordError, RunFailed
from olora_bench.identity import Identified, identify
from olora_bench.process.hardware import resolve_precision
from olora_bench.process.machine_faults import check_machine, machine_faults
from olora_bench.process.preemption import stop_signals
from olora_bench.process.progress import say
from olora_bench.run.compute import compute
from olora_bench.run.grouped import group_lines
from olora_bench.run.recording import Finished, record_crashes
from olora_bench.store import OVER, EvalRecord, RunRecord, Store
from olora_bench.store.record import RESTORE

__all__ = ["CRASHES_THAT_PARK", "Finished", "identified", "is_done", "mend", "run", "settle", "summary", "tidy"]

CRASHES_THAT_PARK = 5
Foretell = Callable[[Identified], None]


def settle(experiment: Experiment) -> Experiment:
    """Replace what depends on the machine and changes numbers (`precision=auto`) by what it means here."""
    precision = resolve_precision(experiment.precision, experiment.machine.device)
    return experiment.model_copy(update={"precision": precision})


def identified(experiment: Experiment) -> tuple[Identified, dict[str, Asset]]:
    """Ids and assets of an experiment; nothing is downloaded and torch is not imported."""
    found = asset_room.resolve(experiment)
    return identify(settle(experiment), {key: asset.identity for key, asset in found.items()}), found


def run(experiment: Experiment, *, study: str | None = None, scored: bool = True, foretell: Foretell = lambda _: None) -> Finished:
    """Train and score one experiment, unless its records exist. A training that was cut off goes on from its checkpoint.

    Args:
        experiment: checked by `olora_bench.config.load`; its `finalists` are those of `run.finalists`.
        study: the study that asks for the run: the tracker's group. In a study a run that keeps killing its process is given up.
        scored: whether scores are asked of it.
        foretell: called once before anything is computed, with assets at hand; not where nothing is left to do.

    Raises:
        BadInput: something needed is missing or impossible here; nothing was computed.
        LeaseHeld: a live process is at work on this run.
        LeaseLost: this process stood still so long that another took the run over; nothing that the other wrote was touched.
        RunFailed: training or scoring broke; the reason is in the record.
        StoreError: the machine gave out (`MachineFault`), or results cannot be written; the run stays as it was.
        Preempted: the process was asked to end (SIGTERM, SIGHUP, SIGUSR1); what can be kept is kept, and the run can be resumed. Ctrl-C
            does the same as `KeyboardInterrupt`.
    """
    with machine_faults():
        what, found = identified(experiment)
        return _run(Store(experiment.machine.results_dir), what if scored else what.unscored(), found, study, foretell)


def _run(store: Store, what: Identified, found: dict[str, Asset], study: str | None, foretell: Foretell) -> Finished:
    experiment = what.experiment
    if is_done(store, what):
        say(f"{what.train_id}: done already, nothing to do ({store.run_dir(what.train_id)})")
        tidy(store, what)
        return _nothing_to_do(store, what)
    check_machine(experiment)
    store.check_writable()
    asset_room.check(experiment, found)
    with stop_signals() as stop, store.hold(store.run_dir(what.train_id)) as held:
        # Asked again, now that nobody else can write: another worker may have finished between the first look and the lease.
        if is_done(store, what):
            say(f"{what.train_id}: another worker has just finished it")
            return _nothing_to_do(store, what)
        if study is not None and held.crashes >= CRASHES_THAT_PARK:
            raise RunFailed(f"{what.train_id} is given up: {record_crashes(store, what, held)}")
        foretell(what)
        outcome = compute(store, what, found, study, held, stop)
        # After the record, never before: a kill between the two leaves a needless file, the other order would lose the training.
        held.remove([store.checkpoint_path(what.train_id)])
        return outcome


def summary(experiment: Experiment) -> str:
    """What became of a run, for a terminal: held-out loss, each benchmark's primary metric beside the base's, and where its records lie."""
    store, what = Store(experiment.machine.results_dir), identified(experiment)[0]
    record = store.read_run(what.train_id)
    if record is None:
        return f"{what.train_id} has no record"
    before, after = (record.metrics.get(name) for name in ("report_loss_start", "report_loss"))
    started = "" if before is None else f"{before:.3f} before, "
    loss = "" if after is None else f": held-out loss {started}{after:.3f} after, in nats per token"
    lines = [f"{what.train_id} {record.status}{loss}"]
    if record.status == "done" and record.steps and (cold := never_warm(what.experiment.recipe, record.steps)) is not None:
        lines.append(f"  it ended at {cold}")
    scored = None if what.eval_id is None else store.read_eval(what.train_id, None, what.eval_id)
    if scored is not None and what.base_eval_id is not None:
        base = store.read_eval(None, experiment.model.name, what.base_eval_id)
        for name, score in scored.scores.items():
            was = "" if base is None else f"base {base.scores[name].metrics[score.primary]:.1%}, "
            value = f"{score.primary} {score.metrics[score.primary]:.1%}"
            lines.append(f"  {name}: {value} ({was}chance {score.chance:.1%}, {score.items} items)")
        lines += [f"  {line}" for line in group_lines(scored, base)]
    return "\n".join([*lines, f"records: {store.run_dir(what.train_id)}"])


def _nothing_to_do(store: Store, what: Identified) -> Finished:
    record = store.read_run(what.train_id)
    return Finished(what.train_id, what.eval_id, "done" if record is None else record.status, computed=False)


def is_done(store: Store, what: Identified) -> bool:
    """Whether run, evaluation and the base's evaluation are all recorded, with all that belongs to them. A diverged run is finished: it has
    nothing to score.

    Raises:
        RecordError: one of these files is damaged; it is named.
    """
    record = store.read_run(what.train_id)
    if record is None or record.status not in OVER or not _whole(store, record):
        return False
    if what.eval_id is None or what.base_eval_id is None:
        return True
    base = store.read_eval(None, what.experiment.model.name, what.base_eval_id)
    if base is None or base.status != "done" or not _whole(store, base):
        return False
    scored = store.read_eval(what.train_id, None, what.eval_id)
    if record.status == "diverged":  # nothing is asked of it, but what lies there and cannot be read is told, as a report tells it
        if scored is not None and not _whole(store, scored):
            raise RecordError(f"{store.folder_of(scored)}: its items are gone, though its record names them. {RESTORE}")
        return True
    return scored is not None and scored.is_of(record) and _whole(store, scored)


def _whole(store: Store, record: RunRecord | EvalRecord) -> bool:
    if (wrong := store.damage(record)) is not None:
        raise RecordError(wrong)
    return not store.lacks(record)


def tidy(store: Store, what: Identified) -> None:
    """Remove what killed workers left beside a finished run and its base's evaluation. A live worker's stays."""
    store.tidy(store.run_dir(what.train_id))
    if what.base_eval_id is not None:
        store.tidy(store.base_eval_dir(what.experiment.model.name, what.base_eval_id))


def mend(store: Store, what: Identified) -> list[Path]:
    """Set aside what is damaged of a run and its evaluations, so that the next start computes it again; returns what was.

    Raises:
        StoreError: the system refuses.
    """
    damaged = store.mend(store.run_dir(what.train_id))
    if what.base_eval_id is not None:
        damaged += store.mend(store.base_eval_dir(what.experiment.model.name, what.base_eval_id))
    return damaged
