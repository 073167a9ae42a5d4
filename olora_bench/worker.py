"""The part of a run's road that needs torch, with the run's lease held: fetch, load, initialise, train, score, record."""

from __future__ import annotations

import re
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench import assets as asset_room
from olora_bench import device
from olora_bench.assets import Asset
from olora_bench.config import Experiment
from olora_bench.config.hardware import resolve_device
from olora_bench.errors import BadInput, MissingAssets, RecordError, RunFailed, StoreError
from olora_bench.identity import Identified
from olora_bench.machine_faults import machine_fault
from olora_bench.preemption import Stop
from olora_bench.progress import duration, say
from olora_bench.provenance import provenance
from olora_bench.store import EvalRecord, Lease, LeaseLost, RunRecord, Score, Store, utc_now
from olora_bench.tracking import Mirror, NoMirror, open_tracker

if TYPE_CHECKING:
    import torch

    from olora_bench.data import Parts
    from olora_bench.inits import Adapted
    from olora_bench.models import Base
    from olora_bench.training import TrainResult


@dataclass(frozen=True)
class Outcome:
    """What one experiment came to. `computed` is false where everything was done already."""

    train_id: str
    eval_id: str | None
    status: str
    computed: bool


@dataclass
class Clock:
    """Wall-clock seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def compute(store: Store, what: Identified, found: Mapping[str, Asset], study: str | None, held: Lease, stop: Stop) -> Outcome:
    """Do what is missing of a run; arguments and errors as for `experiment.run`. A failure is recorded before it is raised.

    Args:
        held: the run's lease.
        stop: becomes true when the process is asked to end.
    """
    experiment = what.experiment
    clock = Clock()
    with clock.phase("import"):
        import torch

        device.check(experiment.machine.device)
    if experiment.machine.threads is not None:
        torch.set_num_threads(experiment.machine.threads)
    facts = provenance(
        assets=[{"key": a.key, "source": a.source, "identity": a.identity} for a in found.values()],
        threads=torch.get_num_threads(),
        device=resolve_device(experiment.machine.device),
        token_budget={"train": experiment.machine.train_token_budget, "eval": experiment.machine.eval_token_budget},
    )
    record = store.read_run(what.train_id)
    if record is None or record.status not in ("done", "diverged"):
        record = _started(what, facts, 1 if record is None else record.attempts + 1)
    worker = _Worker(store, what, found, facts, clock, study, held, stop)
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
        reason = _without_folders(f"{type(error).__name__}: {error}\n{traceback.format_exc()}", experiment)
        latest = record if base is None else store.read_run(what.train_id) or record
        folder = store.run_dir(what.train_id)
        if latest.status == "running":
            store.write_run(_failed(latest, reason), held)
        elif latest.status == "done":
            _record_unscored(store, what, reason, facts, held)
            folder = store.run_eval_dir(what.train_id, what.eval_id) if what.eval_id else folder
        if isinstance(error, BadInput):
            raise
        raise RunFailed(f"{what.train_id} failed: {type(error).__name__}: {error}. The traceback is in {folder}/record.json") from error


def _without_folders(text: str, experiment: Experiment) -> str:
    """A traceback as a record keeps it: files by their place in their package, or by name, and folders by what they are here."""
    text = re.sub(r'(?<=File ")[^"\n]*/(?=(?:site-packages|dist-packages|python3\.\d+|olora_bench)/)', "", text)
    text = re.sub(r'(?<=File ")/[^"\n]*/(?=[^"/\n]+")', "", text)
    names = {Path.cwd(): "<working folder>", Path(tempfile.gettempdir()): "<temporary folder>", Path.home(): "~"}
    names |= {path: f"<machine.{key}>" for key, path in experiment.machine if isinstance(path, Path)}
    shown = {str(form): name for path, name in names.items() for form in (path, path.absolute(), path.resolve()) if form.name}
    for folder in sorted(shown, key=len, reverse=True):
        text = re.sub(rf"(?<![\w./~-]){re.escape(folder)}(?![\w.-])", shown[folder], text)
    return text


@dataclass(frozen=True)
class _Worker:
    """What the phases of one run share."""

    store: Store
    what: Identified
    found: Mapping[str, Asset]
    facts: Mapping[str, Any]
    clock: Clock
    study: str | None
    held: Lease
    stop: Stop


def _started(what: Identified, facts: Mapping[str, Any], attempts: int) -> RunRecord:
    return RunRecord(
        train_id=what.train_id,
        arm=what.experiment.arm,
        status="running",
        attempts=attempts,
        identity=dict(what.train),
        config=what.experiment.published(),
        provenance=dict(facts),
        started_at=utc_now(),
    )


def _failed(record: RunRecord, reason: str) -> RunRecord:
    return record.model_copy(update={"status": "failed", "error": reason, "finished_at": utc_now()})


def _door(worker: _Worker, *, training: bool) -> tuple[Mapping[str, Path], Base]:
    """The assets' folders, every row that will be read checked, and the base, which fits what its YAML says."""
    from olora_bench import data

    with worker.clock.phase("assets"):
        paths = asset_room.fetch(worker.what.experiment, worker.found)
    with worker.clock.phase("data"):
        data.check(worker.what.experiment, paths, training=training)
    with worker.clock.phase("load"):
        return paths, worker_base(worker.what.experiment, worker.found, paths)


def _train_and_score(worker: _Worker, record: RunRecord, paths: Mapping[str, Path], base: Base) -> Outcome:
    from olora_bench import data, inits

    store, what, experiment, clock = worker.store, worker.what, worker.what.experiment, worker.clock
    _score_base(worker, base, paths)
    if record.status == "diverged":
        return Outcome(what.train_id, what.eval_id, "diverged", computed=True)

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
            if record.status == "done":  # its adapter was removed: the same training again gives the same one
                record = _started(what, worker.facts, record.attempts + 1)
                store.write_run(record, worker.held)
            mirror = _open_mirror(what, worker.study)
            record = _train(worker, record, base, adapted, parts(), mirror)
        scores: dict[str, float] = {}
        if record.status == "done" and what.eval_id is not None:
            scores = _score_run(worker, record, base, adapted.model, paths)
        mirror.finish({**record.metrics, **scores, "status": record.status}, failed=record.status != "done")
        return Outcome(what.train_id, what.eval_id, record.status, computed=True)
    except LeaseLost:
        mirror.finish({})  # another worker shows the run under the same id
        raise
    except BaseException:
        mirror.finish({"status": "failed"}, failed=True)
        raise
    finally:
        adapted.remove()


def _open_mirror(what: Identified, study: str | None) -> Mirror:
    one = what.experiment
    name = f"{one.model.name} {one.arm} r{one.rank} lr{one.lr:g} seed{one.seed}"
    return open_tracker(one.tracker, run_id=what.train_id, name=name, config=one.published(), group=study, directory=one.machine.wandb_dir)


def _train(worker: _Worker, record: RunRecord, base: Base, adapted: Adapted, parts: Parts, mirror: Mirror) -> RunRecord:
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
                on_row=lambda row: mirror.log(int(row["step"] or 0), row),
                checkpoints=checkpoints,
            )
        with clock.phase("save"):
            content = adapted.to_bytes()
            kept = {
                "curve": store.write_curve(what.train_id, result.curve, worker.held),
                "adapter": store.write_adapter(what.train_id, content, worker.held),
            }
        record = _trained(worker, record, result, adapted, parts.counts, adapter_bytes=len(content), parts=kept)
        store.write_run(record, worker.held)
        return record


def _trained(
    worker: _Worker, record: RunRecord, result: TrainResult, adapted: Adapted, counts: Mapping[str, Any], **kept: Any
) -> RunRecord:
    """The record of a training that came to its end, done or diverged. `kept`: further fields, of what was written beside it."""
    record = record.model_copy(
        update={
            "status": result.status,
            "error": result.error,
            "finished_at": utc_now(),
            "provenance": {**record.provenance, **({"earlier": result.earlier} if result.earlier else {})},
            "timings_s": worker.clock.seconds | result.timings_s,
            "tokens_per_s": result.tokens_per_s,
            "examples_per_s": result.examples_per_s,
            "cost": result.cost,
            "base_bytes": result.base_bytes,
            "peak_bytes": result.peak_bytes,
            "peak_above_base_bytes": result.peak_above_base_bytes,
            "parameters_total": adapted.parameters_total,
            "parameters_trainable": adapted.parameters_trainable,
            "steps": result.steps,
            "clipped_step_share": result.clipped_step_share,
            "data": dict(counts),
            "metrics": result.metrics,
            "init": adapted.measured(),
            "missing": result.missing,
            **kept,
        }
    )
    return RunRecord.model_validate(record.model_dump())


def record_crashes(store: Store, what: Identified, held: Lease) -> str:
    """Record as failed a run that took its process with it, so that a study comes to its end; returns the reason."""
    reason = (
        f"its process died {held.crashes} times in a row without a word (killed from outside, out of memory, or a crash in a library) "
        "and kept nothing in between; it is tried again only when asked to"
    )
    record = store.read_run(what.train_id)
    if record is not None and record.status in ("done", "diverged"):
        _record_unscored(store, what, reason, record.provenance, held)
    else:
        store.write_run(_failed(record or _started(what, provenance(), 1), reason), held)
    return reason


def _record_unscored(store: Store, what: Identified, reason: str, facts: Mapping[str, Any], held: Lease) -> None:
    """A trained run that could not be scored: its training stays, and its evaluation says why there is none."""
    if what.eval_id is None or what.evaluation is None:
        return
    record = EvalRecord(
        eval_id=what.eval_id,
        train_id=what.train_id,
        status="failed",
        error=reason,
        identity=dict(what.evaluation),
        config={"suite": what.experiment.suite.model_dump(mode="json")},
        provenance=dict(facts),
        finished_at=utc_now(),
    )
    store.write_eval(record, None, held=held)


def _score_base(worker: _Worker, base: Base, paths: Mapping[str, Path]) -> None:
    """Score the untouched base once for all runs that start from it."""
    store, what = worker.store, worker.what
    if what.base_eval_id is None:
        return
    name = what.experiment.model.name
    with store.hold(store.base_eval_dir(name, what.base_eval_id), wait=True) as held:
        known = store.read_eval(None, name, what.base_eval_id)
        if known is None or known.status != "done" or store.lacks(known):
            _score(replace(worker, held=held), base, base.model, paths, None)


def _score_run(worker: _Worker, run: RunRecord, base: Base, model: torch.nn.Module, paths: Mapping[str, Path]) -> dict[str, float]:
    """Score the trained model unless that is done; returns benchmark/metric -> value in [0, 1] for the mirror."""
    assert worker.what.eval_id is not None
    record = worker.store.read_eval(run.train_id, None, worker.what.eval_id)
    if record is None or not record.is_of(run) or worker.store.lacks(record):
        record = _score(worker, base, model, paths, run)
    return {f"{name}/{metric}": value for name, score in record.scores.items() for metric, value in score.metrics.items()}


def _score(worker: _Worker, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], run: RunRecord | None) -> EvalRecord:
    """Score a model and record it: the adapter of `run`, or the untouched base."""
    from olora_bench import data, evaluation
    from olora_bench.models import torch_dtype

    what, experiment = worker.what, worker.what.experiment
    assert experiment.precision != "auto"
    eval_id, identity = (what.eval_id, what.evaluation) if run else (what.base_eval_id, what.base_evaluation)
    assert eval_id is not None and identity is not None
    clock, started = Clock(), utc_now()
    benchmarks = {name: experiment.benchmarks[name] for name in experiment.suite.benchmarks}
    with clock.phase("tasks"):
        tasks = data.benchmark_tasks(benchmarks, dict(paths), experiment.suite.num_fewshot)
    dtype, generation = experiment.suite.dtype or experiment.precision, experiment.suite.generation
    how: dict[str, Any] = {"token_budget": experiment.machine.eval_token_budget, "cache_dir": experiment.machine.cache_dir}
    scores: dict[str, Any] = {}
    generated: dict[str, Any] = {}
    items = generations = None
    if benchmarks:
        with clock.phase("score"):
            scores, items = evaluation.evaluate(model, base, experiment.suite, benchmarks, tasks, dtype=dtype, **how)
        if run is None and dtype != "fp32" and experiment.model.quantization is None:
            with clock.phase("flips"):
                flips = evaluation.measure_flips(base, experiment.suite, benchmarks, tasks, items, **how)
            scores = {name: score | flips[name] for name, score in scores.items()}
    if generation is not None:
        with clock.phase("generate"):
            asked = data.report_items(experiment, paths)[: generation.limit]
            generations = evaluation.generate(
                model, base, asked, max_new_tokens=generation.max_new_tokens, token_budget=how["token_budget"], dtype=torch_dtype(dtype)
            )
            generated = evaluation.text_metrics(generations["output"].tolist(), generations["reference"].tolist())
    record = EvalRecord(
        eval_id=eval_id,
        train_id=None if run is None else run.train_id,
        base=None if run else experiment.model.name,
        status="done",
        error=None,
        identity=dict(identity),
        config={"suite": experiment.suite.model_dump(mode="json")},
        provenance={**worker.facts, **({"adapter": run.parts["adapter"].sha256} if run else {})},
        started_at=started,
        finished_at=utc_now(),
        timings_s=clock.seconds,
        scores={name: Score(**score) for name, score in scores.items()},
        missing={
            f"scores.{name}.stderr.{metric}": "one item has no standard error"
            for name, score in scores.items()
            for metric, value in score["stderr"].items()
            if value is None
        },
        generation=generated,
    )
    return worker.store.write_eval(record, items, generations, worker.held)


_BASES: dict[tuple[str, str, str], Base] = {}


def worker_base(experiment: Experiment, found: Mapping[str, Asset], paths: Mapping[str, Path]) -> Base:
    """The loaded base of this process, reused by every run that starts from the same bytes in the same precision."""
    from olora_bench.models import load_base, torch_dtype

    key = f"model:{experiment.model.name}"
    device = resolve_device(experiment.machine.device)
    wanted = (found[key].identity + repr(experiment.model.quantization), experiment.precision, device)
    if wanted not in _BASES:
        _BASES.clear()  # one base in memory at a time
        start = time.perf_counter()
        _BASES[wanted] = load_base(
            experiment.model, paths.get(key), torch_dtype(experiment.precision), device, experiment.machine.cache_dir
        )
        say(f"load {experiment.model.name} in {experiment.precision}: {duration(time.perf_counter() - start)}")
    return _BASES[wanted]
