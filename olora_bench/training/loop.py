"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from olora_bench.config import Experiment
from olora_bench.config.memory import SHORTEST_BUDGET, fitting_budget, training_memory
from olora_bench.config.steps import never_warm, step_count, warmup_count
from olora_bench.data import Example, Parts, batch_order
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted
from olora_bench.models import seeded
from olora_bench.process.allocator import keep_freed_memory
from olora_bench.process.progress import Progress, say, size
from olora_bench.seeds import derive
from olora_bench.training.ceiling import matmul_flops_per_s, step_flops
from olora_bench.training.checkpoint import Checkpoints, Keeper
from olora_bench.training.losses import Losses, supervised
from olora_bench.training.memory import PeakMemory, free_bytes
from olora_bench.training.schedule import divergence, loss_schedule, lr_at

COLUMNS = {"step": "int64", "tokens": "int64"} | dict.fromkeys(
    ("wall_s", "train_loss", "tune_loss", "report_loss", "lr", "grad_norm"), "float64"
)
Row = dict[str, int | float | None]


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    `curve` has one row a step. Row k holds the k-th batch's loss (read before its update), its lr, its gradient norm before clipping, the
    tokens and the seconds of training so far (reading part losses is not counted), and the part losses after the update where they were
    read; row 0 holds the part losses before any. Speeds leave out start-up and evaluation; `cost` is the
    record's. `metrics` are part losses (nats per supervised token) and mean gold log-probabilities
    (nats per example) at start and end; what a diverged run does not have is None, with a reason in `missing`. Sizes in bytes.
    Of a run that went on from a checkpoint, tokens, seconds and peaks are those of all its steps, and `earlier` holds the provenance of
    the processes that did the first ones, where it was not this process's.
    """

    curve: pd.DataFrame
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
    earlier: list[Mapping[str, Any]]


def train(
    adapted: Adapted,
    parts: Parts,
    experiment: Experiment,
    *,
    device: torch.device,
    on_row: Callable[[Row], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainResult:
    """Train the adapter on `parts.train`, reading the losses of the tune and report parts on the way.

    Args:
        on_row: called with each row of the curve as soon as it is known; after a resumption first with those known already.
        checkpoints: where the state between steps is kept. What is there is gone on from; whoever calls removes it at the end.

    Raises:
        BadInput: a batch without a supervised token; too little memory for the shortest forward pass.
        Preempted: `checkpoints.stop` said so; the state is saved.
    """
    recipe = experiment.recipe
    steps = step_count(recipe, len(parts.train))
    warmup = warmup_count(recipe, steps)
    order = batch_order(len(parts.train), seed=experiment.seed, steps=steps, batch_size=recipe.batch_size)
    read_after = set(loss_schedule(steps, recipe.loss_evaluations))
    _check_supervision(parts.train, order)
    if (cold := never_warm(recipe, steps)) is not None:
        say(f"train: the run will end at {cold}. Lower recipe.warmup_steps or train longer")

    keep_freed_memory()
    losses = Losses(
        adapted,
        _budget(experiment, max(len(e.input_ids) for part in (parts.train, parts.tune, parts.report) for e in part), device),
        device,
        checkpointing=experiment.machine.gradient_checkpointing,
        compiled=experiment.machine.compile,
    )
    groups = [dict(group) for group in adapted.param_groups]  # the optimiser writes into what it is given
    optimizer = torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, weight_decay=recipe.weight_decay, fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    scaler = torch.amp.GradScaler(device.type, enabled=adapted.base.dtype is torch.float16)  # fp16 gradients underflow; others pass through
    log = _Log(losses, parts, on_row)
    keeper = None if checkpoints is None else Keeper(checkpoints, adapted.model, optimizer, scaler, device)

    with seeded(derive(experiment.seed, "dropout"), device):
        saved = None if keeper is None else keeper.restore()
        if saved is None:
            first = 1
            log.read(0)
        else:
            first = saved[0] + 1
            log.restore(saved[1])
            say(f"train: going on after step {saved[0]} of {steps}")
        with PeakMemory(device) as memory, Progress("train", steps - first + 1, unit="steps") as progress:
            for step, picked in enumerate(order[first - 1 :], first):
                start = time.perf_counter()
                batch = [parts.train[i] for i in picked]
                counted = supervised(batch)
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = lr_at(step - 1, steps, peak=peak, warmup=warmup, schedule=recipe.schedule)
                loss_now = losses.gradient(batch, scaler)
                scaler.unscale_(optimizer)
                grad_norm_now = torch.nn.utils.clip_grad_norm_(trained, recipe.max_grad_norm)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                loss, grad_norm = loss_now.item(), grad_norm_now.item()
                log.count(batch, counted, time.perf_counter() - start)
                log.read(step, loss=loss, lr=optimizer.param_groups[0]["lr"], grad_norm=grad_norm, parts=step in read_after)
                if log.diverged is not None:
                    break
                progress.advance(1, f"loss {loss:.3f}, {log.tokens / log.seconds:.0f} tokens/s")
                if keeper is not None and step < steps:
                    with memory.paused():
                        keeper.after(step, lambda: log.state(memory))
    adapted.train_mode(False)
    return log.result(memory, recipe.max_grad_norm, [] if keeper is None else keeper.earlier)


def _check_supervision(examples: Sequence[Example], order: Sequence[np.ndarray]) -> None:
    """Refuse now what a batch of many hours hence could not be trained on.

    Raises:
        BadInput: a batch has no supervised token.
    """
    has_some = np.array([example.supervised[1:].any() for example in examples])
    for picked in order:
        if not has_some[picked].any():
            supervised([examples[i] for i in picked])


def _budget(experiment: Experiment, longest: int, device: torch.device) -> int:
    """The token budget that fits the memory at hand, for examples of up to `longest` tokens; said where it is not the one asked for.

    Raises:
        BadInput: not even the shortest forward pass fits.
    """
    on_gpu, free = device.type == "cuda", free_bytes(device)
    budget = fitting_budget(experiment, free, on_gpu=on_gpu, longest=longest)
    if budget is None:
        least = training_memory(experiment, on_gpu=on_gpu, token_budget=SHORTEST_BUDGET, longest=longest)
        raise BadInput(
            f"training {experiment.model.name} at rank {experiment.rank} needs about {size(least.above_base)} beside the loaded base, even "
            f"with {max(SHORTEST_BUDGET, longest)} tokens at a time, and {size(free)} are free on {device}. "
            "Free memory, lower rank or data.cutoff, choose a smaller model, or set machine.gradient_checkpointing=true"
        )
    if budget < experiment.machine.train_token_budget:
        say(f"memory: {size(free)} free, so {budget} tokens at a time instead of {experiment.machine.train_token_budget}")
    return budget


class _Log:
    """The curve as it grows, and what is summed up from it at the end."""

    def __init__(self, losses: Losses, parts: Parts, on_row: Callable[[Row], None] | None) -> None:
        self.losses, self.parts, self.on_row = losses, parts, on_row
        self.rows: list[Row] = []
        self.train_losses: list[float] = []
        self.metrics: dict[str, float | None] = {}
        self.tokens = self.examples = self.supervised = 0
        self.seconds = self.reading_s = 0.0
        self.peak = self.peak_above_start = 0
        self.diverged: str | None = None

    def state(self, memory: PeakMemory) -> dict[str, Any]:
        """Everything of this, as JSON values. Only a run that has not diverged has a state to keep."""
        kept = {name: getattr(self, name) for name in ("rows", "metrics", "tokens", "examples", "supervised", "seconds", "reading_s")}
        return kept | dict(zip(("peak", "peak_above_start"), self._peaks(memory), strict=True))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, and pass its rows on."""
        for name, value in state.items():
            setattr(self, name, value)
        self.train_losses = [row["train_loss"] for row in self.rows[1:]]  # type: ignore[misc]
        for row in self.rows if self.on_row is not None else ():
            self.on_row(row)  # type: ignore[misc]

    def _peaks(self, memory: PeakMemory) -> tuple[int, int]:
        peak = memory.read()
        return max(self.peak, peak), max(self.peak_above_start, peak - memory.start)

    def count(self, batch: list[Any], counted: int, seconds: float) -> None:
        self.supervised += counted
        self.tokens += sum(len(example.input_ids) for example in batch)
        self.examples += len(batch)
        self.seconds += seconds

    def read(
        self, step: int, *, loss: float | None = None, lr: float | None = None, grad_norm: float | None = None, parts: bool = True
    ) -> None:
        """Add a row, judge it, and pass it on."""
        if loss is not None:
            self.train_losses.append(loss)
            self.diverged = self.diverged or divergence(self.train_losses)
        tune, report = (self._part("tune", step), self._part("report", step)) if parts and self.diverged is None else (None, None)
        row: Row = dict(zip(COLUMNS, (step, self.tokens, self.seconds, loss, tune, report, lr, grad_norm), strict=True))
        self.rows.append(row)
        if self.on_row is not None:
            self.on_row(row)

    def _part(self, name: Literal["tune", "report"], step: int) -> float:
        start = time.perf_counter()
        loss, gold = self.losses.read(getattr(self.parts, name))
        self.reading_s += time.perf_counter() - start
        if not math.isfinite(loss):
            self.diverged = self.diverged or f"{name} loss is {loss} after step {step}"
        suffix = "_start" if step == 0 else ""
        self.metrics |= {f"{name}_loss{suffix}": loss, f"{name}_gold_logprob{suffix}": gold}
        return loss

    def result(self, memory: PeakMemory, max_grad_norm: float, earlier: list[Mapping[str, Any]]) -> TrainResult:
        missing: dict[str, str] = {}
        for part in ("tune", "report"):
            for key in (f"{part}_loss", f"{part}_gold_logprob"):
                if self.diverged is not None:
                    self.metrics[key] = None
                    missing[f"metrics.{key}"] = f"diverged: {self.diverged}"
        done = self.rows[1:]
        adapted = self.losses.adapted
        adapter_bytes = sum(p.numel() * p.element_size() for p in adapted.model.parameters() if p.requires_grad)
        adapter, ceiling = adapted.parameters_trainable, matmul_flops_per_s(adapted.base)
        peak, peak_above_start = self._peaks(memory)
        return TrainResult(
            curve=pd.DataFrame(self.rows, columns=list(COLUMNS)).astype(COLUMNS),
            status="done" if self.diverged is None else "diverged",
            error=self.diverged,
            metrics=self.metrics,
            missing=missing,
            steps=len(done),
            tokens=self.tokens,
            clipped_step_share=sum(not (row["grad_norm"] or 0.0) <= max_grad_norm for row in done) / len(done),
            tokens_per_s=self.tokens / self.seconds,
            examples_per_s=self.examples / self.seconds,
            cost={
                "supervised_tokens_per_s": self.supervised / self.seconds,
                "token_budget": self.losses.token_budget,
                "matmul_flops_per_s": ceiling,
                "flops_utilisation": step_flops(adapted.base, adapter, self.tokens, self.supervised) / self.seconds / ceiling,
            },
            base_bytes=adapted.base.size_bytes,
            peak_bytes=peak,
            peak_above_base_bytes=peak_above_start + adapter_bytes + self.losses.head.copied_bytes,  # both there before the first step
            timings_s={"optimise": self.seconds, "part_losses": self.reading_s},
            earlier=earlier,
        )
