"""Losses of many examples in a bounded number of tokens at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from olora_bench.data import Example, Parts, longest_first, packs
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted
from olora_bench.models import LmHead, PackedRows, token_nll
from olora_bench.models.compiled import EAGER
from olora_bench.models.compiled import compiled as compiled_steps
from olora_bench.models.memory import Budget


class PartLosses(NamedTuple):
    """Of the parts that are not trained on: the loss in nats per supervised token; an example's mean log-probability of its supervised
    text, in nats; the loss of each example, summed over its supervised tokens, nats, the longest example first, fp32 `(examples,)`; and the
    seconds that reading them took. What is of the report part is None where that was not read."""

    tune_loss: float
    tune_gold_logprob: float
    report_loss: float | None
    report_gold_logprob: float | None
    tune_sums: Tensor
    report_sums: Tensor | None
    seconds: float


class Losses:
    """Reads the losses of an adapted model, at most `token_budget` tokens in one forward pass."""

    def __init__(
        self, adapted: Adapted, token_budget: int, device: torch.device, *, checkpointing: bool = False, compiled: bool = False
    ) -> None:
        self.adapted, self.budget, self.device = adapted, Budget(token_budget, device), device
        steps = compiled_steps() if compiled else EAGER
        self.trained = PackedRows(adapted.model, checkpointing=checkpointing, steps=steps)
        self.read = PackedRows(adapted.model, steps=steps)
        self.head = LmHead.of(adapted.model)

    def gradient(self, examples: Sequence[Example], scaler: torch.amp.GradScaler) -> Tensor:
        """The mean loss of an optimiser batch in nats per supervised token, its gradient added to the adapter's.

        Dividing by the count of the whole batch before each backward pass makes the gradient that of one pass, however the batch is cut.

        When memory runs out it gets half as many tokens at a time from there on, with the same gradient up to rounding.

        Returns:
            fp32 [], still on the device: nothing here waits for a GPU.
        """
        self.adapted.train_mode(True)
        count = supervised(examples)
        return self.budget.fitting(lambda: self._gradient(examples, count, scaler), undo=self.adapted.model.zero_grad)

    def _gradient(self, examples: Sequence[Example], count: int, scaler: torch.amp.GradScaler) -> Tensor:
        total = torch.zeros((), device=self.device)
        with self.trained:
            for nll in self._sums(examples):
                loss = nll.sum() / count
                scaler.scale(loss).backward()
                total += loss.detach()
        return total

    def of_parts(self, parts: Parts, *, report_too: bool = True) -> PartLosses:
        """The losses of the tune part, and of the report part where it is read; no dropout."""
        start = time.perf_counter()
        (tune_sums, tune), report = self._read(parts.tune), self._read(parts.report) if report_too else None
        loss, logprob = _means(parts.tune, tune.item())  # here a GPU is waited for
        if report is None:
            return PartLosses(loss, logprob, None, None, tune_sums, None, time.perf_counter() - start)
        means = _means(parts.report, report[1].item())
        return PartLosses(loss, logprob, means[0], means[1], tune_sums, report[0], time.perf_counter() - start)

    @torch.no_grad()
    def _read(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """The loss of each example, summed over its supervised tokens, and that of all in doubles, without dropout; still on the device."""
        self.adapted.train_mode(False)
        with self.read:
            sums = self.budget.fitting(lambda: list(self._sums(examples)))
        return torch.cat(sums), torch.stack([nll.double().sum() for nll in sums]).sum()

    def _sums(self, examples: Sequence[Example]) -> Iterator[Tensor]:
        for row in packs(examples, self.budget.tokens):
            yield token_nll(self.adapted.model, row.to(self.device), self.head)


def _means(examples: Sequence[Example], total: float) -> tuple[float, float]:
    """A part's loss and its mean log-probability, from its summed loss."""
    return total / supervised(examples), -total / len(examples)


def by_example(parts: Parts, read: PartLosses) -> pd.DataFrame:
    """What was read of each example, as the store keeps it: `store.parquet.schema("examples")`."""
    rows = [
        (part, example.group, example.id, loss, int(example.supervised[1:].sum()))
        for part, examples, sums in (("tune", parts.tune, read.tune_sums), ("report", parts.report, read.report_sums))
        if sums is not None
        for example, loss in zip(longest_first(examples), sums.tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["part", "group", "example_id", "loss_sum", "tokens"])


def supervised(examples: Sequence[Example]) -> int:
    """Supervised tokens that something predicts: the first token of an example is not one.

    Raises:
        BadInput: there is none, so no loss is defined.
    """
    count = sum(int(example.supervised[1:].sum()) for example in examples)
    if count == 0:
        raise BadInput(f"no supervised token is left in {len(examples)} examples ({examples[0].id}, ...): raise data.cutoff")
    return count
