"""The part of a run's road that needs torch, with the run's lease held: fetch, load, initialise, train, score, record."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from olora_bench import assets as asset_room
from olora_bench.assets import Asset
from olora_bench.config import Machine
from olora_bench.config.memory import token_budgets
from olora_bench.errors import BadInput, MissingAssets, RecordError, RunFailed, StoreError
from olora_bench.identity import Identified, title
from olora_bench.process import device
from olora_bench.process.hardware import keep_one_gpu, resolve_device
from olora_bench.process.machine_faults import machine_fault
from olora_bench.process.preemption import Stop
from olora_bench.process.provenance import provenance
from olora_bench.run.recording import Finished, ended, failed, record_unscored, started, without_folders
from olora_bench.run.scoring import score_base, score_run
from olora_bench.run.worker import Clock, Worker, worker_base
from olora_bench.store import OVER, Lease, LeaseLost, RunRecord, Store
from olora_bench.store.record import Json
from olora_bench.tracking import Mirror, MirroredRun, NoMirror, open_tracker

if TYPE_CHECKING:
    from olora_bench.data import Parts
    from olora_bench.inits import Adapted
    from olora_bench.models import Base


def compute(store: Store, what: Identified, found: Mapping[str, Asset], study: str | None, held: Lease, stop: Stop) -> Finished:
    """Do what is missing of a run; arguments and errors as for `experiment.run`. A failure is recorded before it is raised.

    Args:
        held: the run's lease.
        stop: becomes true when the process is asked to end.
    """
    experiment = what.experiment
    clock = Clock()
    keep_one_gpu(experiment.machine.device)
    with clock.phase("import"):
        import torch

        device.check(experiment.machine.device)
    if experiment.machine.threads is not None:
        torch.set_num_threads(experiment.machine.threads)
    facts = _facts(experiment.machine, found, torch.get_num_threads())
    record = store.read_run(what.train_id)
    if record is None or record.status not in OVER:
        record = started(what, facts, 1 if record is None else record.attempts + 1)
    worker = Worker(store, what, found, facts, clock, study, held, stop)
    base: Base | None = None
    try:
        to_train = record.status == "running" or (record.status == "done" and not store.keeps(record))
        paths, base = _door(worker, training=to_train)
        if record.status == "running":
            store.write_run(record, held)
        return _train_and_score(worker, record, paths, base)
    except (MissingAssets, StoreError, RecordError):
        raise  # nothing is known about the run itself: it can be started again as it is
    except Exception as error:
        if base is None and isinstance(error, BadInput):
            raise  # stopped at the door: nothing was begun that a record could tell of
        if (fault := machine_fault(error)) is not None:
            raise fault from error  # nor is anything here
        reason = without_folders(f"{type(error).__name__}: {error}\n{traceback.format_exc()}", experiment)
        folder = _keep_reason(worker, record if base is None else store.read_run(what.train_id) or record, reason)
        if isinstance(error, BadInput):
            raise
        raise RunFailed(f"{what.train_id} failed: {type(error).__name__}: {error}. The traceback is in {folder}/record.json") from error


def _facts(machine: Machine, found: Mapping[str, Asset], threads: int) -> Json:
    used = resolve_device(machine.device)
    train, evaluate = token_budgets(machine, on_gpu=used.startswith("cuda"))
    return provenance(
        assets=[{"key": a.key, "source": a.source, "identity": a.identity} for a in found.values()],
        threads=threads,
        device=used,
        token_budget={"train": train, "eval": evaluate},
    )


def _is_scored(store: Store, what: Identified, record: RunRecord) -> bool:
    """Whether a run's own scores are there, of its adapter and whole."""
    scored = None if what.eval_id is None else store.read_eval(what.train_id, None, what.eval_id)
    return scored is not None and scored.is_of(record) and not store.lacks(record) and not store.lacks(scored)


def _keep_reason(worker: Worker, latest: RunRecord, reason: str) -> Path:
    """Record why a run failed, or why a trained one has no scores; returns the folder of that record."""
    store, what = worker.store, worker.what
    if latest.status == "running":
        store.write_run(failed(latest, reason), worker.held)
    elif latest.status == "done" and not _is_scored(store, what, latest):
        record_unscored(store, what, reason, worker.facts, worker.held)
        if what.eval_id:
            return store.run_eval_dir(what.train_id, what.eval_id)
    return store.run_dir(what.train_id)


def _door(worker: Worker, *, training: bool) -> tuple[Mapping[str, Path], Base]:
    """The assets' folders, every row that will be read checked, and the base, which fits what its YAML says."""
    from olora_bench import data

    with worker.clock.phase("assets"):
        paths = asset_room.fetch(worker.what.experiment, worker.found)
    with worker.clock.phase("data"):
        data.check(worker.what.experiment, paths, training=training)
    with worker.clock.phase("load"):
        return paths, worker_base(worker.what.experiment, worker.found, paths)


def _train_and_score(worker: Worker, record: RunRecord, paths: Mapping[str, Path], base: Base) -> Finished:
    """The run and the untouched base: while another worker scores that one, this one trains."""
    scored, what = score_base(worker, base, paths, wait=False), worker.what
    if record.status == "diverged" or _is_scored(worker.store, what, record):  # only the base lacked its scores
        outcome = Finished(what.train_id, what.eval_id, record.status, computed=True)
    else:
        outcome = _train_then_score(worker, record, paths, base)
    if not scored:
        score_base(worker, base, paths, wait=True)
    return outcome


def _train_then_score(worker: Worker, record: RunRecord, paths: Mapping[str, Path], base: Base) -> Finished:
    from olora_bench import data, inits

    store, what, experiment, clock = worker.store, worker.what, worker.what.experiment, worker.clock

    @cache
    def parts() -> Parts:
        with clock.phase("data"):
            return data.build_parts(experiment, dict(paths), base.tokenizer)

    trained = record.status == "done" and store.keeps(record)
    if not trained:
        parts()
    with clock.phase("init"):
        adapted = inits.apply(base, experiment, lambda: parts().train, measure=not trained)
    mirror: Mirror = NoMirror()
    try:
        if trained:
            adapted.load(store.adapter_path(what.train_id), record.parts["adapter"].sha256)
        else:
            if record.status == "done":  # its adapter is not here: trained again; what is recorded and whole stays until that has ended
                whole, record = not store.lacks(record), started(what, worker.facts, record.attempts + 1)
                if not whole:
                    store.write_run(record, worker.held)
            mirror = _open_mirror(what, worker.study)
            record = _train(worker, record, base, adapted, parts(), mirror)
        scored = record.status == "done" and what.eval_id is not None
        scores = score_run(worker, record, base, adapted.model, paths) if scored else {}
        mirror.finish({**record.metrics, **scores, "status": record.status}, failed=record.status != "done")
        return Finished(what.train_id, what.eval_id, record.status, computed=True)
    except LeaseLost:
        mirror.finish({})  # another worker shows the run under the same id
        raise
    except BaseException:
        mirror.finish({"status": "failed"}, failed=True)
        raise
    finally:
        adapted.remove()  # the next run of this process starts from the same base, whatever became of this one


def _open_mirror(what: Identified, study: str | None) -> Mirror:
    one = what.experiment
    return open_tracker(one.tracker, MirroredRun(what.train_id, title(one), one.published(), study, one.machine.wandb_dir))


def _train(worker: Worker, record: RunRecord, base: Base, adapted: Adapted, parts: Parts, mirror: Mirror) -> RunRecord:
    from olora_bench import training

    store, what, experiment, clock = worker.store, worker.what, worker.what.experiment, worker.clock
    checkpoints = training.Checkpoints(
        path=store.checkpoint_path(what.train_id),
        owner=what.train_id,
        share=experiment.machine.checkpoint_share,
        writer={key: value for key, value in worker.facts.items() if key != "assets"},
        stop=lambda: worker.stop.requested,
        held=worker.held,
    )
    worker.held.check()  # loading and initialising may have taken long
    with worker.stop.deferred():
        with clock.phase("train"):
            result = training.train(
                adapted,
                parts,
                experiment,
                device=base.device,
                on_row=lambda row: mirror.log(row["step"], row),
                checkpoints=checkpoints,
            )
        # A signal waits until the record is there: a finished training without one would be trained again from its last checkpoint.
        with clock.phase("save"):
            content = adapted.to_bytes()
            kept = {
                "curve": store.write_curve(what.train_id, result.curve, worker.held),
                "adapter": store.write_adapter(what.train_id, content, worker.held),
            }
            if result.examples is not None:
                kept["examples"] = store.write_examples(what.train_id, result.examples, worker.held)
        # Parts first, record last: a record that is there names nothing that is not.
        record = ended(worker, record, result, adapted, parts.counts, adapter_bytes=len(content), parts=kept)
        store.write_run(record, worker.held)
        return record
