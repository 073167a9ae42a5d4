"""One optimiser step: forward, backward, clip, update, at the learning rates that the schedule gives."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from olora_bench.config import Recipe
from olora_bench.config.steps import warmup_count
from olora_bench.data import Example
from olora_bench.inits import Adapted
from olora_bench.training.log import Update
from olora_bench.training.losses import Losses, supervised
from olora_bench.training.schedule import lr_at


class Optimiser:
    """AdamW over the groups that the init asks for: one for A and B, or LoRA+'s two (arXiv 2402.12354), each with its own peak rate.

    Args:
        steps: the optimiser steps of the whole training, on which the schedule depends.
    """

    def __init__(self, adapted: Adapted, recipe: Recipe, steps: int, device: torch.device) -> None:
        self.recipe, self.steps, self.warmup = recipe, steps, warmup_count(recipe, steps)
        groups = [{"params": group["params"], "lr": group["lr"]} for group in adapted.param_groups]  # copies: AdamW writes into them
        self.adamw = torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, weight_decay=recipe.weight_decay, fused=True)
        self.peaks = [group["lr"] for group in self.adamw.param_groups]
        self.trained = [parameter for group in self.adamw.param_groups for parameter in group["params"]]
        # fp16 gradients underflow unless the loss is scaled up; in other precisions this passes everything through.
        self.scaler = torch.amp.GradScaler(device.type, enabled=adapted.base.dtype is torch.float16)

    def step(self, number: int, batch: Sequence[Example], losses: Losses) -> Update:
        """Step `number` (1 is the first) on one batch; the adapter's weights move.

        Raises:
            BadInput: the batch has no supervised token.
        """
        start = time.perf_counter()
        counted = supervised(batch)
        self._set_rates(number)
        loss = losses.gradient(batch, self.scaler)  # forward and backward
        self.scaler.unscale_(self.adamw)  # before clipping, which would else see the norm of the scaled gradient
        grad_norm = torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.max_grad_norm)
        self.scaler.step(self.adamw)  # skips the update where an fp16 gradient overflowed, and lowers the scale
        self.scaler.update()
        self.adamw.zero_grad()
        shown_loss, shown_norm = torch.stack([loss, grad_norm]).tolist()  # waits for a GPU: it comes last, the seconds after it
        seconds = time.perf_counter() - start
        tokens = sum(len(example.input_ids) for example in batch)
        return Update(shown_loss, self.adamw.param_groups[0]["lr"], shown_norm, tokens, counted, len(batch), seconds)

    def _set_rates(self, number: int) -> None:
        for group, peak in zip(self.adamw.param_groups, self.peaks, strict=True):
            group["lr"] = lr_at(number - 1, self.steps, peak=peak, warmup=self.warmup, schedule=self.recipe.schedule)
