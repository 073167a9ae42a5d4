"""Scoring on the road of a run: the trained model, and the untouched base once for all runs that start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.run.worker import Clock, Worker
from olora_bench.store import EvalRecord, RunRecord, Score, utc_now

if TYPE_CHECKING:
    import torch

    from olora_bench.models import Base


def score_base(worker: Worker, base: Base, paths: Mapping[str, Path]) -> None:
    """Score the untouched base once for all runs that start from it."""
    store, what = worker.store, worker.what
    if what.base_eval_id is None:
        return
    name = what.experiment.model.name
    with store.hold(store.base_eval_dir(name, what.base_eval_id), wait=True) as held:
        known = store.read_eval(None, name, what.base_eval_id)
        if known is None or known.status != "done" or store.lacks(known):
            _score(replace(worker, held=held), base, base.model, paths, None)


def score_run(worker: Worker, run: RunRecord, base: Base, model: torch.nn.Module, paths: Mapping[str, Path]) -> dict[str, float]:
    """Score the trained model unless that is done; returns benchmark/metric -> value in [0, 1] for the mirror."""
    assert worker.what.eval_id is not None
    record = worker.store.read_eval(run.train_id, None, worker.what.eval_id)
    if record is None or not record.is_of(run) or worker.store.lacks(record):
        record = _score(worker, base, model, paths, run)
    return {f"{name}/{metric}": value for name, score in record.scores.items() for metric, value in score.metrics.items()}


def _score(worker: Worker, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], run: RunRecord | None) -> EvalRecord:
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
