"""What one run that is asked for alone will do, said before it starts: its parts, and about how long each takes. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from olora_bench.config import Experiment, Suite
from olora_bench.identity import Identified
from olora_bench.process.progress import duration
from olora_bench.store import OVER, Store
from olora_bench.study import estimate
from olora_bench.study.calibrate import with_measured
from olora_bench.study.pace import Pace, Paces, paces

SHORT_S = 10.0
"""A run that takes less is told without times."""
MEASURED_S = 60.0
"""For one that takes more, the pace of its model is measured first."""
LONG_S = 600.0
"""Scoring that takes more is said with what would shorten it."""
FEW = 200
"""Items of each benchmark in that proposal."""


class Part(NamedTuple):
    """A part of a run: what is done, what of, and how long it takes at a pace."""

    what: str
    of: str
    seconds: Callable[[Pace], float]


def run_plan(what: Identified, *, measure: Callable[[Paces, list[Experiment]], tuple[Paces, str | None]] = with_measured) -> str:
    """The plan of a run in one line.

    Args:
        what: identified, its records not complete.
        measure: asked for the pace of a model of which no record tells, and only where the run is no matter of seconds.
    """
    experiment = what.experiment
    store = Store(experiment.machine.results_dir)
    known, scoring = paces(store, experiment.machine), _scoring(store, what)
    parts = [*scoring[:1], *_training(store, what, known), *scoring[1:]] if len(scoring) > 1 else [*_training(store, what, known), *scoring]
    if _total(parts, known.of(experiment)) >= MEASURED_S and not known.knows(experiment.model.name):
        known, _ = measure(known, [experiment])
    pace = known.of(experiment)
    told = _total(parts, pace) >= SHORT_S
    source = f" (times {estimate.source([experiment], known)})" if told else ""
    said = "; ".join(f"{part.what} {part.of}" + (f", {_taking(part.seconds(pace))}" if told else "") for part in parts)
    return f"plan: {said}{source}{_shorter(experiment, scoring, pace)}"


def _taking(seconds: float) -> str:
    return "under 1s" if seconds < 1 else f"about {duration(seconds)}"


def _training(store: Store, what: Identified, known: Paces) -> list[Part]:
    record, one = store.read_run(what.train_id), what.experiment
    if record is not None and record.status in OVER:
        return []
    count = estimate.work(one, known.tokens_per_example).steps
    # Which examples overlap others, or lose all that is learned to the cutoff, is known once they are read.
    steps = f"{'' if one.recipe.steps else 'about '}{count:,} step{'s' * (count != 1)}"
    goes_on = ", on from the checkpoint of a run that was cut off" if store.has_checkpoint(what.train_id) else ""
    return [Part("train", f"{steps}{goes_on}", lambda pace: estimate.train_seconds(one, pace, known.tokens_per_example))]


def _scoring(store: Store, what: Identified) -> list[Part]:
    """The untouched base, unless it is scored, and the trained model."""
    if what.eval_id is None or what.base_eval_id is None:
        return []
    one, base = what.experiment, store.read_eval(None, what.experiment.model.name, what.base_eval_id)
    of, trained = _asked(one), Part("score the trained model on", _asked(one), lambda pace: estimate.score_seconds(one, pace))
    if base is not None and base.status == "done" and not store.lacks(base):
        return [trained]
    untouched = Part("score the untouched base on", of, lambda pace: estimate.score_seconds(one, pace, estimate.BASE_FLIP_ITEMS))
    return [untouched, trained]


def _asked(experiment: Experiment) -> str:
    """How many items and answers a suite asks."""
    suite = experiment.suite
    uncounted = suite.limit is None and any(experiment.benchmarks[name].items is None for name in suite.benchmarks)
    items = [f"{'perhaps ' * uncounted}{estimate.items(experiment):,} items"] if suite.benchmarks else []
    return " and ".join(items + ([f"{estimate.answers(experiment):,} answers"] if suite.generation else []))


def _total(parts: list[Part], pace: Pace) -> float:
    return sum(part.seconds(pace) for part in parts)


def _shorter(experiment: Experiment, scoring: list[Part], pace: Pace) -> str:
    """What makes scoring shorter that would take long, and how long it takes then."""
    whole, of_benchmarks = _total(scoring, pace), bool(experiment.suite.benchmarks)
    if whole < LONG_S:
        return ""
    fewer = experiment.model_copy(update={"suite": _limited(experiment.suite)})
    less = whole * estimate.score_seconds(fewer, pace) / estimate.score_seconds(experiment, pace)
    if less > whole / 2:
        return ""
    fewer_items = f"suite.limit={FEW} (items of each benchmark)" if of_benchmarks else f"suite.generation.limit={FEW} (answers)"
    return f". Scoring would take about {duration(less)} with {fewer_items}"


def _limited(suite: Suite) -> Suite:
    if suite.benchmarks:
        return suite.model_copy(update={"limit": FEW})
    assert suite.generation is not None
    return suite.model_copy(update={"generation": suite.generation.model_copy(update={"limit": FEW})})
