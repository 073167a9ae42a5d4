"""The finalists of a block as one piece of work: each is trained, the best by its own tune part is kept, and that one alone is scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from olora_bench.config import Experiment
from olora_bench.config.schema import Criterion
from olora_bench.errors import RecordError, RunFailed
from olora_bench.process.progress import say
from olora_bench.run.experiment import Foretell, identified, run, summary
from olora_bench.run.recording import Finished
from olora_bench.store import OVER, LeaseHeld, RunRecord, Store

Announce = Callable[[Experiment], AbstractContextManager[None]]


def as_loss(record: RunRecord | None, criterion: Criterion) -> float | None:
    """What a run is chosen by, as a loss in nats: infinite where it diverged, None while it is not finished."""
    if record is None or record.status not in OVER:
        return None
    value = record.metrics.get(criterion)
    if record.status == "diverged" or value is None:
        return math.inf
    return value if criterion == "tune_loss" else -value


def kept(losses: Mapping[float, float]) -> float:
    """The finalist that a block keeps: the lowest loss, the smallest learning rate of equals.

    Where every one diverged it is the middle one, which is diverged too: there is nothing to score.

    Args:
        losses: learning rate -> the criterion as a loss, of every finalist.

    >>> kept({1e-3: 2.0, 1.78e-3: 1.5, 3.16e-3: math.inf})
    0.00178
    """
    if all(math.isinf(loss) for loss in losses.values()):
        return sorted(losses)[len(losses) // 2]
    return min(losses, key=lambda lr: (losses[lr], lr))


def finalist(experiment: Experiment, lr: float) -> Experiment:
    """One of an experiment's finalists as an experiment of its own."""
    return experiment.model_copy(update={"lr": lr, "finalists": None, "criterion": "tune_loss"})


def run_finalists(
    experiment: Experiment, *, study: str | None = None, announce: Announce = lambda _: nullcontext(), foretell: Foretell = lambda _: None
) -> Finished:
    """Train the finalists that are not trained yet, keep one, and score it unless that is done. A failed one does not stop the others.

    Args:
        experiment: with `finalists`.
        study, foretell: as for `experiment.run`.
        announce: entered around each training.

    Returns:
        What became of the one that is kept.

    Raises:
        LeaseHeld: another process is at work on one, so that nothing can be kept yet.
        RunFailed, RecordError: one failed or cannot be read, so that nothing can be kept; the others are trained.
        As for `experiment.run`, which stops the others too.
    """
    lrs, broken = experiment.finalists or (), list[Exception]()
    for lr in lrs:
        try:
            with announce(finalist(experiment, lr)):
                run(finalist(experiment, lr), study=study, scored=False, foretell=foretell)
        except (LeaseHeld, RunFailed, RecordError) as error:
            say(str(error))
            broken.append(error)
    losses = {lr: loss for lr in lrs if (loss := _loss(experiment, lr)) is not None}
    if len(losses) < len(lrs):
        raise broken[0]
    best = kept(losses)
    say(f"kept lr {best:g} of {', '.join(f'{lr:g} ({experiment.criterion} {loss:.4f})' for lr, loss in losses.items())}")
    with announce(finalist(experiment, best)):
        return run(finalist(experiment, best), study=study, foretell=foretell)


def _loss(experiment: Experiment, lr: float) -> float | None:
    one = finalist(experiment, lr)
    return as_loss(Store(one.machine.results_dir).read_run(identified(one)[0].train_id), experiment.criterion)


def finalists_summary(experiment: Experiment) -> str:
    """What became of each finalist and of the one that is kept, for a terminal."""
    losses = {lr: loss for lr in experiment.finalists or () if (loss := _loss(experiment, lr)) is not None}
    return "\n".join(
        [f"finalist lr {lr:g}: {experiment.criterion} as a loss {loss:.4f}" for lr, loss in losses.items()]
        + [summary(finalist(experiment, kept(losses)))]
    )
