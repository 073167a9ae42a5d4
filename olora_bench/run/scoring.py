"""Scoring on the road of a run: the trained model, and the untouched base once for all runs that start from it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from olora_bench.config import Experiment
from olora_bench.run.worker import Clock, Worker
from olora_bench.store import EvalRecord, LeaseHeld, RunRecord, Score, utc_now
from olora_bench.store.record import Json

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from olora_bench import evaluation
    from olora_bench.config.schema import Dtype
    from olora_bench.models import Base

BASE_FLIP_ITEMS = 100
"""Items of each benchmark that the untouched base answers again in fp32."""
FLIP_ITEMS = 25
"""The same of a trained model: every run pays for them."""


def score_base(worker: Worker, base: Base, paths: Mapping[str, Path], *, wait: bool) -> bool:
    """Score the untouched base once for all runs that start from it; false where another worker is at it and `wait` does not ask for its
    end."""
    store, what = worker.store, worker.what
    if what.base_eval_id is None:
        return True
    name = what.experiment.model.name
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(store.hold(store.base_eval_dir(name, what.base_eval_id), wait=wait))
        except LeaseHeld:
            return False
        known = store.read_eval(None, name, what.base_eval_id)
        if known is None or known.status != "done" or store.lacks(known):
            _score(replace(worker, held=held), base, base.model, paths, None)
    return True


def score_run(worker: Worker, run: RunRecord, base: Base, model: torch.nn.Module, paths: Mapping[str, Path]) -> dict[str, float]:
    """Score the trained model unless that is done; returns benchmark/metric -> value in [0, 1] for the mirror."""
    assert worker.what.eval_id is not None
    record = worker.store.read_eval(run.train_id, None, worker.what.eval_id)
    if record is None or not record.is_of(run) or worker.store.lacks(record):
        record = _score(worker, base, model, paths, run)
    return {f"{name}/{metric}": value for name, score in record.scores.items() for metric, value in score.metrics.items()}


def _score(worker: Worker, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], run: RunRecord | None) -> EvalRecord:
    """Score a model and record it: the adapter of `run`, or the untouched base."""
    what, experiment = worker.what, worker.what.experiment
    eval_id, identity = (what.eval_id, what.evaluation) if run else (what.base_eval_id, what.base_evaluation)
    assert eval_id is not None and identity is not None
    clock, started = Clock(), utc_now()
    scores, items = _choices(experiment, base, model, paths, clock)
    answers, likeness = _answers(experiment, base, model, paths, clock)
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
        scores=scores,
        missing={
            f"scores.{name}.stderr.{metric}": "one item has no standard error"
            for name, score in scores.items()
            for metric, value in score.stderr.items()
            if value is None
        },
        generation=likeness,
    )
    return worker.store.write_eval(record, items, answers, worker.held)


def _choices(
    experiment: Experiment, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], clock: Clock
) -> tuple[dict[str, Score], pd.DataFrame | None]:
    """The benchmarks' scores, and every item; in a low precision also how many choices the precision decides."""
    from olora_bench import data, evaluation

    suite, machine = experiment.suite, experiment.machine
    benchmarks = {name: experiment.benchmarks[name] for name in suite.benchmarks}
    with clock.phase("tasks"):
        tasks = data.benchmark_tasks(benchmarks, paths, suite.num_fewshot)
    if not benchmarks:
        return {}, None
    asked = evaluation.Scoring(suite, benchmarks, tasks, evaluation.token_budget(experiment, base.device), machine.cache_dir)
    with clock.phase("score"):
        scores, items = evaluation.evaluate(model, base, asked, dtype=_dtype(experiment))
    if _dtype(experiment) == "fp32" or experiment.model.quantization is not None:
        return scores, items
    with clock.phase("flips"):
        return _with_flips(scores, model, base, asked, items), items


def _with_flips(
    scores: Mapping[str, Score], model: torch.nn.Module, base: Base, asked: evaluation.Scoring, items: pd.DataFrame
) -> dict[str, Score]:
    """The scores with the share of choices that differ in fp32; where its weights do not fit a warning, and no score is lost."""
    from olora_bench import evaluation

    limit = BASE_FLIP_ITEMS if model is base.model else FLIP_ITEMS
    try:
        flips = evaluation.measure_flips(model, base, asked, items, limit=limit)
    except evaluation.NoRoom as error:
        unknown = f"not compared with fp32: {error}"
        return {name: score.model_copy(update={"warnings": [*score.warnings, unknown]}) for name, score in scores.items()}
    return {name: score.model_copy(update=dict(flips[name])) for name, score in scores.items()}


def _answers(
    experiment: Experiment, base: Base, model: torch.nn.Module, paths: Mapping[str, Path], clock: Clock
) -> tuple[pd.DataFrame | None, Json]:
    """Answers to held-out instructions and how near they come to the references, where the suite asks for them."""
    from olora_bench import data, evaluation
    from olora_bench.models import torch_dtype

    wanted = experiment.suite.generation
    if wanted is None:
        return None, {}
    with clock.phase("generate"):
        asked, dtype = data.report_items(experiment, paths)[: wanted.limit], torch_dtype(_dtype(experiment))
        budget = evaluation.token_budget(experiment, base.device)
        answers = evaluation.generate(model, base, asked, max_new_tokens=wanted.max_new_tokens, token_budget=budget, dtype=dtype)
        return answers, evaluation.text_metrics(answers["output"].tolist(), answers["reference"].tolist())


def _dtype(experiment: Experiment) -> Dtype:
    """What a model is scored in: the suite's own precision, or the run's."""
    assert experiment.precision != "auto"
    return experiment.suite.dtype or experiment.precision
