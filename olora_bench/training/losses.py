"""Losses of many examples in a bounded number of tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from olora_bench.data import Example, micro_batches
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted
from olora_bench.models import token_nll


@dataclass(frozen=True)
class Losses:
    """Reads the losses of an adapted model, at most `token_budget` padded tokens in one forward pass."""

    adapted: Adapted
    token_budget: int
    device: torch.device

    def gradient(self, examples: Sequence[Example], scaler: torch.amp.GradScaler) -> float:
        """The mean loss of an optimiser batch in nats per supervised token, its gradient added to the adapter's.

        Dividing by the count of the whole batch before each backward pass makes the gradient that of one pass, however the batch is cut.
        """
        self.adapted.train_mode(True)
        count = supervised(examples)
        total = torch.zeros((), device=self.device)
        for nll in self._sums(examples):
            loss = nll.sum() / count
            scaler.scale(loss).backward()
            total += loss.detach()
        return total.item()

    @torch.no_grad()
    def read(self, examples: Sequence[Example]) -> tuple[float, float]:
        """The mean loss in nats per supervised token, and an example's mean log-probability of its supervised text in nats; no dropout."""
        self.adapted.train_mode(False)
        total = torch.stack([nll.double().sum() for nll in self._sums(examples)]).sum().item()
        return total / supervised(examples), -total / len(examples)

    def _sums(self, examples: Sequence[Example]) -> Iterator[Tensor]:
        pad = self.adapted.base.tokenizer.pad_token_id
        for batch in micro_batches(examples, self.token_budget, pad):
            on_device = (tensor.to(self.device) for tensor in (batch.input_ids, batch.attention_mask, batch.supervised))
            yield token_nll(self.adapted.model, *on_device)[0]


def supervised(examples: Sequence[Example]) -> int:
    """Supervised tokens that something predicts: the first token of an example is not one.

    Raises:
        BadInput: there is none, so no loss is defined.
    """
    count = sum(int(example.supervised[1:].sum()) for example in examples)
    if count == 0:
        raise BadInput(f"no supervised token is left in {len(examples)} examples ({examples[0].id}, ...): raise data.cutoff")
    return count
