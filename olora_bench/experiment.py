"""The road of one experiment: identify, stop if done, fetch, load, initialise, train, evaluate, record."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench import assets as asset_room
from olora_bench.assets import Asset
from olora_bench.config import Experiment
from olora_bench.config.hardware import resolve_device, resolve_precision
from olora_bench.errors import RunFailed
from olora_bench.identity import Identified, identify
from olora_bench.progress import duration, say
from olora_bench.provenance import provenance
from olora_bench.store import EvalRecord, RunRecord, Score, Store, lease, utc_now
from olora_bench.tracking import Mirror, open_tracker

if TYPE_CHECKING:
    import torch

    from olora_bench.models import Base


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


def settle(experiment: Experiment) -> Experiment:
    """Replace what depends on the machine and changes numbers (`precision=auto`) by what it means here."""
    precision = resolve_precision(experiment.precision, experiment.machine.device)
    return experiment.model_copy(update={"precision": precision})


def identified(experiment: Experiment) -> tuple[Identified, dict[str, Asset]]:
    """Ids and assets of an experiment; nothing is downloaded and torch is not imported."""
    found = asset_room.resolve(experiment)
    return identify(settle(experiment), {key: asset.identity for key, asset in found.items()}), found


def run(experiment: Experiment, *, study: str | None = None) -> Outcome:
    """Train and score one experiment, unless its records exist.

    Args:
        experiment: checked by `olora_bench.config.load`.
        study: name under which the tracker groups the run.

    Raises:
        BadInput: something needed is missing or impossible here; nothing was computed.
        RunFailed: training or scoring broke; the reason is in the record.
    """
    store = Store(experiment.machine.results_dir)
    what, found = identified(experiment)
    if is_done(store, what):
        say(f"{what.train_id}: done already, nothing to do ({store.run_dir(what.train_id)})")
        return Outcome(what.train_id, what.eval_id, "done", computed=False)
    store.check_writable()
    asset_room.check(experiment, found)
    with lease(store.run_dir(what.train_id)):
        return _compute(store, what, found, study)


def is_done(store: Store, what: Identified) -> bool:
    """Whether run, evaluation and the base's evaluation are all recorded. A diverged run is finished: it has nothing to score."""
    record = store.read_run(what.train_id)
    if record is None or record.status not in ("done", "diverged"):
        return False
    if what.eval_id is None or what.base_eval_id is None:
        return True
    base = store.read_eval(None, what.experiment.model.name, what.base_eval_id)
    if base is None or base.status != "done":
        return False
    if record.status == "diverged":
        return True
    scored = store.read_eval(what.train_id, None, what.eval_id)
    return scored is not None and scored.status == "done"


def _compute(store: Store, what: Identified, found: Mapping[str, Asset], study: str | None) -> Outcome:
    """The part of the road that needs torch. Called with the run's lease held."""
    # Rows that `datasets` prepares belong with the other assets. It reads this where it is first imported.
    os.environ.setdefault("HF_DATASETS_CACHE", str(what.experiment.machine.cache_dir / "datasets"))
    clock = Clock()
    with clock.phase("import"):
        import torch

        from olora_bench import inits

    experiment = what.experiment
    if experiment.machine.threads is not None:
        torch.set_num_threads(experiment.machine.threads)
    facts = provenance(
        assets=[{"key": a.key, "source": a.source, "identity": a.identity} for a in found.values()],
        threads=torch.get_num_threads(),
        device=resolve_device(experiment.machine.device),
        token_budget={"train": experiment.machine.train_token_budget, "eval": experiment.machine.eval_token_budget},
    )
    with clock.phase("assets"):
        paths = asset_room.fetch(experiment, found)
    with clock.phase("load"):
        base = worker_base(experiment, found, paths)
    _score_base(store, what, base, paths, facts)

    before = store.read_run(what.train_id)
    trained = before is not None and before.status in ("done", "diverged")
    if before is not None and before.status == "diverged":
        return Outcome(what.train_id, what.eval_id, "diverged", computed=True)
    with clock.phase("init"):
        adapted = inits.apply(base, experiment)
    mirror = None
    try:
        if trained and store.adapter_path(what.train_id).exists():
            adapted.load(store.adapter_path(what.train_id))
            record = before
        else:
            mirror = _open_mirror(what, study)
            record = _train(store, what, base, adapted, paths, facts, clock, mirror)
        assert record is not None
        scores: dict[str, float] = {}
        if record.status == "done" and what.eval_id is not None:
            scores = _score_run(store, what, base, adapted.model, paths, facts)
        if mirror is not None:
            mirror.finish({**record.metrics, **scores, "status": record.status}, failed=record.status != "done")
        return Outcome(what.train_id, what.eval_id, record.status, computed=True)
    except BaseException:
        if mirror is not None:
            mirror.finish({"status": "failed"}, failed=True)
        raise
    finally:
        adapted.remove()


def _open_mirror(what: Identified, study: str | None) -> Mirror:
    one = what.experiment
    name = f"{one.model.name} {one.arm} r{one.rank} lr{one.lr:g} seed{one.seed}"
    config = one.model_dump(mode="json")
    return open_tracker(one.tracker, run_id=what.train_id, name=name, config=config, group=study, directory=one.machine.wandb_dir)


def _train(
    store: Store,
    what: Identified,
    base: Base,
    adapted: Any,
    paths: Mapping[str, Path],
    facts: Mapping[str, Any],
    clock: Clock,
    mirror: Mirror,
) -> RunRecord:
    from olora_bench import data, training

    experiment = what.experiment
    before = store.read_run(what.train_id)
    record = RunRecord(
        train_id=what.train_id,
        arm=experiment.arm,
        status="running",
        error=None,
        attempts=1 if before is None else before.attempts + 1,
        identity=dict(what.train),
        config=experiment.model_dump(mode="json"),
        provenance=dict(facts),
        started_at=utc_now(),
    )
    store.write_run(record)
    try:
        with clock.phase("data"):
            parts = data.build_parts(experiment, dict(paths), base.tokenizer)
        with clock.phase("train"):
            result = training.train(
                adapted, parts, experiment, device=base.device, on_row=lambda row: mirror.log(int(row["step"] or 0), row)
            )
        with clock.phase("save"):
            store.write_curve(what.train_id, result.curve)
            adapted.save(store.adapter_path(what.train_id))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        store.write_run(
            record.model_copy(update={"status": "failed", "error": f"{reason}\n{traceback.format_exc()}", "finished_at": utc_now()})
        )
        raise RunFailed(f"{what.train_id} failed: {reason}") from error
    record = record.model_copy(
        update={
            "status": result.status,
            "error": result.error,
            "finished_at": utc_now(),
            "timings_s": clock.seconds | result.timings_s,
            "tokens_per_s": result.tokens_per_s,
            "examples_per_s": result.examples_per_s,
            "base_bytes": result.base_bytes,
            "peak_bytes": result.peak_bytes,
            "peak_above_base_bytes": result.peak_above_base_bytes,
            "parameters_total": adapted.parameters_total,
            "parameters_trainable": adapted.parameters_trainable,
            "adapter_bytes": store.adapter_path(what.train_id).stat().st_size,
            "steps": result.steps,
            "clipped_step_share": result.clipped_step_share,
            "data": parts.counts,
            "metrics": result.metrics,
            "init": {"seconds": adapted.seconds, "changed_base_weights": len(adapted.changed), **adapted.facts},
            "missing": result.missing,
        }
    )
    record = RunRecord.model_validate(record.model_dump())
    store.write_run(record)
    return record


def _score_base(store: Store, what: Identified, base: Base, paths: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Score the untouched base once for all runs that start from it."""
    if what.base_eval_id is None:
        return
    name = what.experiment.model.name
    with lease(store.base_eval_dir(name, what.base_eval_id), wait=True):
        known = store.read_eval(None, name, what.base_eval_id)
        if known is None or known.status != "done":
            _score(store, what, base, base.model, paths, facts, train_id=None)


def _score_run(
    store: Store, what: Identified, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], facts: Mapping[str, Any]
) -> dict[str, float]:
    """Score the trained model unless that is done; returns benchmark/metric -> value in [0, 1] for the mirror."""
    assert what.eval_id is not None
    record = store.read_eval(what.train_id, None, what.eval_id)
    if record is None or record.status != "done":
        record = _score(store, what, base, model, paths, facts, train_id=what.train_id)
    return {f"{name}/{metric}": value for name, score in record.scores.items() for metric, value in score.metrics.items()}


def _score(
    store: Store,
    what: Identified,
    base: Base,
    model: torch.nn.Module,
    paths: Mapping[str, Path],
    facts: Mapping[str, Any],
    *,
    train_id: str | None,
) -> EvalRecord:
    from olora_bench import data, evaluation

    experiment = what.experiment
    assert experiment.precision != "auto"
    eval_id, identity = (what.eval_id, what.evaluation) if train_id else (what.base_eval_id, what.base_evaluation)
    assert eval_id is not None and identity is not None
    clock, started = Clock(), utc_now()
    benchmarks = {name: experiment.benchmarks[name] for name in experiment.suite.benchmarks}
    with clock.phase("tasks"):
        tasks = data.benchmark_tasks(benchmarks, dict(paths), experiment.suite.num_fewshot)
    with clock.phase("score"):
        scores, items = evaluation.evaluate(
            model, base, experiment.suite, benchmarks, tasks,
            token_budget=experiment.machine.eval_token_budget, dtype=experiment.suite.dtype or experiment.precision,
        )  # fmt: skip
    record = EvalRecord(
        eval_id=eval_id,
        train_id=train_id,
        base=None if train_id else experiment.model.name,
        status="done",
        error=None,
        identity=dict(identity),
        config={"suite": experiment.suite.model_dump(mode="json")},
        provenance=dict(facts),
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
    )
    store.write_eval(record, items)
    return record


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
