"""Log-likelihoods of continuations: the backbone over padded batches, the LM head in fp32 at the positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F

from olora_bench.data.batches import chunks_by_budget
from olora_bench.errors import BadInput

# Logits held at a time: 2^25 fp32 numbers are 128 MiB, whatever the vocabulary.
_LOGITS_AT_ONCE = 1 << 25


def continuation_logprobs(
    model: nn.Module,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    token_budget: int,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> list[tuple[float, bool]]:
    """Sum of log p(token | tokens before it) over each continuation, in nats, and whether greedy decoding would write it.

    Requests that feed the model the same tokens share one forward pass (one-token choices of one prompt). Rows are padded on the right
    and go without an attention mask: under causal attention no token sees what is right of it.

    Args:
        model: a causal language model of transformers, or a PEFT model around one; in eval mode.
        requests: (tokens fed to the model [t], continuation [c]); the continuation is read at the last c positions, c <= t.
        token_budget: at most this many padded tokens in a forward pass (one row at least).
        on_batch: called with the number of requests answered.

    Returns:
        (log-likelihood, greedy) of each request, in order. An empty continuation has (0.0, True).

    Raises:
        BadInput: the model has no plain linear LM head.
    """
    causal: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    head = causal.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise BadInput(f"{type(causal).__name__} has {type(head).__name__} as LM head: scoring needs a plain torch.nn.Linear there")
    weight, bias = head.weight.detach().float(), None if head.bias is None else head.bias.detach().float()

    sharing: dict[tuple[int, ...], list[int]] = {}
    for i, (fed, _) in enumerate(requests):
        sharing.setdefault(tuple(fed), []).append(i)
    # Long rows first: what does not fit in memory shows at once. A fixed order, so that the same items give the same bits.
    rows = sorted(sharing, key=lambda fed: (-len(fed), fed))
    answers: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
    for chunk in chunks_by_budget([len(fed) for fed in rows], token_budget):
        batch = [rows[i] for i in chunk]
        asked = [(row, i) for row, fed in enumerate(batch) for i in sharing[fed]]
        at_row, at_column, targets, owner = _reads(batch, asked, requests)
        with torch.no_grad():
            # The text model alone: its last hidden states are what the LM head sees.
            hidden = causal.base_model(input_ids=_padded(batch, device), use_cache=False).last_hidden_state
            values, greedy = _read(hidden[at_row, at_column], weight, bias, torch.from_numpy(targets).to(device))
        sums = np.bincount(owner, weights=values, minlength=len(asked))
        misses = np.bincount(owner, weights=~greedy, minlength=len(asked))
        for k, (_, i) in enumerate(asked):
            answers[i] = (float(sums[k]), bool(misses[k] == 0))
        on_batch(len(asked))
    return answers


def _reads(
    batch: Sequence[tuple[int, ...]], asked: Sequence[tuple[int, int]], requests: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the head is applied, which token is wanted there, and whose it is: four int64 arrays of one length."""
    at_row: list[int] = []
    at_column: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    for k, (row, i) in enumerate(asked):
        continuation = requests[i][1]
        end = len(batch[row])
        at_row += [row] * len(continuation)
        at_column += range(end - len(continuation), end)
        targets += continuation
        owner += [k] * len(continuation)
    row_, column, target, of = (np.array(values, dtype=np.int64) for values in (at_row, at_column, targets, owner))
    return row_, column, target, of


def _padded(batch: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    ids = np.zeros((len(batch), len(batch[0])), dtype=np.int64)
    for row, fed in enumerate(batch):
        ids[row, : len(fed)] = fed
    return torch.from_numpy(ids).to(device)


def _read(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each target and whether it is the likeliest token: hidden [m, h], targets [m] -> float64 [m], bool [m]."""
    values, greedy = [], []
    for part, wanted in zip(
        hidden.split(max(1, _LOGITS_AT_ONCE // len(weight))), targets.split(max(1, _LOGITS_AT_ONCE // len(weight))), strict=True
    ):
        with torch.autocast(hidden.device.type, enabled=False):
            logprobs = F.log_softmax(F.linear(part.float(), weight, bias), dim=-1)
        values.append(logprobs.gather(1, wanted[:, None])[:, 0])
        greedy.append(logprobs.argmax(1) == wanted)
    return torch.cat(values).double().cpu().numpy(), torch.cat(greedy).cpu().numpy()
