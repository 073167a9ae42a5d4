"""Token losses of an architecture of which nothing is known here: by transformers' own forward pass, over rows without padding.

Slower than packed rows (`models.losses`), whose attention is checked for `PLAIN_FAMILIES` alone. Examples of one length are one batch, so
nothing hangs on how an architecture treats padding or how it counts positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from olora_bench.config.schema import PLAIN_FAMILIES
from olora_bench.errors import BadInput
from olora_bench.models.causal import causal_model
from olora_bench.models.head import LOGITS_AT_ONCE


def is_general(model: nn.Module) -> bool:
    """Whether a causal language model of transformers, or the one in a PEFT model, goes the way of this module."""
    return causal_model(model).config.model_type not in PLAIN_FAMILIES


def example_nll(model: nn.Module, input_ids: Tensor, positions: Tensor, reads: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each read token in nats, as `losses.token_nll` sums it by example.

    Args:
        input_ids, positions: int64 [1, l] of a packed row, whose examples lie one after another, the longest first.
        reads, targets: int64 [m], columns of the row and the tokens that they predict, rising.

    Returns:
        fp32 [m], differentiable; softmax in fp32 over the model's own logits.
    """
    found = []
    for start, stop, length in _batches(positions[0], causal_model(model).config.vocab_size):
        own = (reads >= start) & (reads < stop)
        if own.any():
            logits = causal_model(model)(input_ids=input_ids[0, start:stop].view(-1, length), use_cache=False).logits
            found.append(F.cross_entropy(logits.flatten(0, 1)[reads[own] - start].float(), targets[own], reduction="none"))
    return torch.cat(found) if found else input_ids.new_zeros(0, dtype=torch.float32)


def _batches(positions: Tensor, vocabulary: int) -> Iterator[tuple[int, int, int]]:
    """First column, column after the last, and length of examples that go through the model together: equally long, logits bounded."""
    starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
    spans = [(start, stop, stop - start) for start, stop in itertools.pairwise(starts)]
    for length, group in itertools.groupby(spans, key=lambda span: span[2]):
        members = list(group)
        step = max(1, LOGITS_AT_ONCE // (length * vocabulary))
        for first in range(0, len(members), step):
            yield members[first][0], members[min(first + step, len(members)) - 1][1], length


@torch.no_grad()
def check_causal(name: str, model: Any) -> None:
    """Refuse a model that looks ahead: its losses would be of tokens that it has seen.

    Raises:
        BadInput: what is predicted at a token hangs on the tokens after it.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    ids = torch.arange(8, device=model.device)[None] % vocabulary
    other = ids.clone()
    other[0, 4:] = (other[0, 4:] + 1) % vocabulary
    before, after = (model(input_ids=one, use_cache=False).logits[0, :4].float() for one in (ids, other))
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
        raise BadInput(
            f"model {name} looks ahead: what it predicts at a token hangs on the tokens after it. Allowed: a causal language model "
            f"(its config.json says model_type={model.config.model_type})"
        )
