"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from olora_bench.config import Experiment
from olora_bench.config.memory import SHORTEST_BUDGET, fitting_budget, token_budgets, training_memory
from olora_bench.config.steps import never_warm, step_count
from olora_bench.data import Example, Parts, batch_order
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted
from olora_bench.models import seeded
from olora_bench.models.memory import free_bytes
from olora_bench.process.progress import Progress, say, size
from olora_bench.seeds import derive
from olora_bench.training.checkpoint import Checkpoints, Keeper
from olora_bench.training.log import Log, Row, Update
from olora_bench.training.losses import Losses, supervised
from olora_bench.training.memory import PeakMemory
from olora_bench.training.optimiser import Optimiser
from olora_bench.training.result import TrainResult, summed_up
from olora_bench.training.schedule import divergence, loss_schedule, part_divergence


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
        checkpoints: where the state between steps is kept. A state that lies there is resumed; the caller removes it at the end.

    Raises:
        BadInput: a batch without a supervised token; too little memory for the shortest forward pass.
        Preempted: `checkpoints.stop` said so; the state is saved.
    """
    run = _prepared(adapted, parts, experiment, device)
    log = Log(on_row)
    keeper = None if checkpoints is None else Keeper(checkpoints, adapted.model, run.optimiser.adamw, run.optimiser.scaler, device)
    with seeded(derive(experiment.seed, "dropout"), device):
        # Seed first, resume second: the checkpoint puts its own random states in place, which seeding would undo.
        done = _resumed(keeper, log, run.steps)
        diverged = None if done else _read_and_judge(run, log, 0)
        with PeakMemory(device) as memory, Progress("train", run.steps - done, unit="steps") as progress:
            for step in range(done + 1, run.steps + 1):
                update = run.optimiser.step(step, run.batch(step), run.losses)  # forward, backward, clip, update
                diverged = _read_and_judge(run, log, step, update, diverged)
                if diverged is not None:
                    break
                progress.advance(1, f"loss {update.loss:.3f}, {log.totals.tokens / log.totals.seconds:.0f} tokens/s")
                if keeper is not None and step < run.steps:  # after the last step comes the record
                    with memory.paused():
                        keeper.after(step, lambda: log.state(memory))
    adapted.train_mode(False)
    log.saw(memory)
    return summed_up(log, run.losses, run.parts, diverged, experiment.recipe, [] if keeper is None else keeper.earlier)


@dataclass(frozen=True)
class _Run:
    """What is fixed before the first step. `order` has each batch's examples, `read_after` the steps after which part losses are
    read, those of the report part where `report_too`."""

    parts: Parts
    order: Sequence[np.ndarray]
    read_after: frozenset[int]
    report_too: bool
    losses: Losses
    optimiser: Optimiser

    @property
    def steps(self) -> int:
        return len(self.order)

    def batch(self, step: int) -> list[Example]:
        return [self.parts.train[i] for i in self.order[step - 1]]


def _prepared(adapted: Adapted, parts: Parts, experiment: Experiment, device: torch.device) -> _Run:
    """The data order, which depends on the seed alone and so is the same for every arm; what reads losses; the optimiser.

    Raises:
        BadInput: as for `train`.
    """
    recipe, machine = experiment.recipe, experiment.machine
    steps = step_count(recipe, len(parts.train))
    order = batch_order(len(parts.train), seed=experiment.seed, steps=steps, batch_size=recipe.batch_size)
    _check_supervision(parts.train, order)
    if (cold := never_warm(recipe, steps)) is not None:
        say(f"train: the run will end at {cold}. Lower recipe.warmup_steps or train longer")
    budget = _budget(experiment, max(len(e.input_ids) for part in (parts.train, parts.tune, parts.report) for e in part), device)
    losses = Losses(adapted, budget, device, checkpointing=machine.gradient_checkpointing, compiled=machine.compile)
    read_after = frozenset(loss_schedule(steps, recipe.loss_evaluations) if recipe.read == "everything" else [steps])
    return _Run(parts, order, read_after, recipe.read != "tune", losses, Optimiser(adapted, recipe, steps, device))


def _resumed(keeper: Keeper | None, log: Log, steps: int) -> int:
    """Put the checkpoint's state in place, if there is one; returns how many steps are done."""
    saved = None if keeper is None else keeper.restore()
    if saved is None:
        return 0
    done, state = saved
    log.restore(state)
    say(f"train: going on after step {done} of {steps}")
    return done


def _read_and_judge(run: _Run, log: Log, step: int, update: Update | None = None, diverged: str | None = None) -> str | None:
    """Read the part losses where it is time to, and add the step to the log; returns why the run has diverged, if it has."""
    if update is not None:
        log.count(update)
        diverged = diverged or divergence(log.train_losses)
    to_read = step in run.read_after and diverged is None
    read = run.losses.of_parts(run.parts, report_too=run.report_too) if to_read else None
    log.add_row(step, update, read)
    if read is None or diverged is not None:
        return diverged
    return part_divergence({"tune": read.tune_loss} | ({"report": read.report_loss} if read.report_loss is not None else {}), step)


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
    asked, _ = token_budgets(experiment.machine, on_gpu=on_gpu)
    if budget < asked:
        say(f"memory: {size(free)} free, so {budget} tokens at a time instead of {asked}")
    return budget
