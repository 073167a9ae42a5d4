"""What a training came to, summed up from its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from olora_bench.config.schema import Recipe
from olora_bench.data import Parts
from olora_bench.inits import Adapted
from olora_bench.store.record import Json
from olora_bench.training.ceiling import matmul_flops_per_s, step_flops
from olora_bench.training.log import FINAL, Log
from olora_bench.training.losses import Losses, by_example


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    `curve` has one row a step. Row k holds the k-th batch's loss (read before its update), its lr, its gradient norm before clipping, the
    tokens and the seconds of training so far (reading part losses is not counted), and the part losses after the update where they were
    read; row 0 holds the part losses before any. Speeds leave out start-up and evaluation; `cost` is the
    record's. `metrics` are part losses (nats per supervised token) and mean gold log-probabilities
    (nats per example) at start and end; what a diverged run does not have is None, with a reason in `missing`. `examples` are the
    final part losses by example, as `losses.by_example` gives them; None for a diverged run. Sizes in bytes.
    Of a run that went on from a checkpoint, tokens, seconds and peaks are those of all its steps, and `earlier` holds the provenance of
    the processes that did the first ones, where it was not this process's.
    """

    curve: pd.DataFrame
    examples: pd.DataFrame | None
    status: Literal["done", "diverged"]
    error: str | None
    metrics: dict[str, float | None]
    missing: dict[str, str]
    steps: int
    tokens: int
    clipped_step_share: float
    tokens_per_s: float
    examples_per_s: float
    cost: dict[str, float]
    base_bytes: int
    peak_bytes: int
    peak_above_base_bytes: int
    timings_s: dict[str, float]
    earlier: list[Json]


def summed_up(log: Log, losses: Losses, parts: Parts, diverged: str | None, recipe: Recipe, earlier: list[Json]) -> TrainResult:
    """The result of a training that came to its end.

    Args:
        parts: whose losses were read.
        diverged: why it has diverged, if it has.
        recipe: above which norm a gradient was clipped, and which losses were read.
        earlier: the provenance of earlier processes.
    """
    totals, adapted, done = log.totals, losses.adapted, log.rows[1:]
    missing = _unread(log, recipe) | ({} if diverged is None else dict.fromkeys(FINAL, f"diverged: {diverged}"))
    adapter_bytes = sum(p.numel() * p.element_size() for p in adapted.model.parameters() if p.requires_grad)
    return TrainResult(
        curve=log.curve(),
        examples=None if diverged is not None or log.last_read is None else by_example(parts, log.last_read),
        status="done" if diverged is None else "diverged",
        error=diverged,
        metrics=log.metrics | dict.fromkeys(missing),
        missing={f"metrics.{key}": reason for key, reason in missing.items()},
        steps=len(done),
        tokens=totals.tokens,
        clipped_step_share=sum(not (row["grad_norm"] or 0.0) <= recipe.max_grad_norm for row in done) / len(done),
        tokens_per_s=totals.tokens / totals.seconds,
        examples_per_s=totals.examples / totals.seconds,
        cost=_cost(log, adapted, losses.budget.tokens),
        base_bytes=adapted.base.size_bytes,
        peak_bytes=totals.peak,
        # The adapter and the LM head's copy are there before the first step, at whose level the measuring starts.
        peak_above_base_bytes=totals.peak_above_start + adapter_bytes + losses.head.copied_bytes,
        timings_s={"optimise": totals.seconds, "part_losses": totals.reading_s},
        earlier=earlier,
    )


def _unread(log: Log, recipe: Recipe) -> dict[str, str]:
    """The metrics that nothing asked for, each with the reason."""
    names = [name for final in FINAL for name in (final, f"{final}_start") if name not in log.metrics]
    return {} if recipe.read == "everything" else dict.fromkeys(names, f"not read: recipe.read={recipe.read}")


def _cost(log: Log, adapted: Adapted, token_budget: int) -> dict[str, float]:
    totals, ceiling = log.totals, matmul_flops_per_s(adapted.base)
    flops = step_flops(adapted.base, adapted.parameters_trainable, totals.tokens, totals.supervised)
    return {
        "supervised_tokens_per_s": totals.supervised / totals.seconds,
        "token_budget": token_budget,
        "matmul_flops_per_s": ceiling,
        "flops_utilisation": flops / totals.seconds / ceiling,
    }
