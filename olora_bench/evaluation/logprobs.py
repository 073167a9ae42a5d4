"""Log-likelihoods of a plan's continuations: tries through the backbone, the LM head in fp32 at the positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from olora_bench.evaluation.tree_attention import Prefix, last_hidden, layout_of, run_prefix
from olora_bench.evaluation.trie import Plan
from olora_bench.models.causal import causal_model
from olora_bench.models.head import exact_products

# Logits of an fp32 head held at a time: 2^23 fp32 numbers are 32 MiB, whatever the vocabulary and however many positions are read.
_LOGITS_AT_ONCE = 1 << 23
# Rows of logits that one softmax takes.
_SOFTMAX_ROWS = 16
# Of a head in another dtype: rows of its weight that are turned into fp32 at a time, and positions that are then read with them.
_WEIGHTS_AT_ONCE, _STATES_AT_ONCE = 2048, 1024


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass, the longest first: (plan, row) of each. `prefix` is the plan whose shared beginning they have, or None."""

    rows: tuple[tuple[int, int], ...]
    prefix: int | None


def batches(plans: Sequence[Plan], token_budget: int) -> list[Batch]:
    """Cut rows into batches of at most `token_budget` tokens (one row at least), the longest first within each beginning."""
    kinds: dict[int | None, list[tuple[int, int, int]]] = {}
    for p, plan in enumerate(plans):
        rows = kinds.setdefault(p if len(plan.prefix) else None, [])
        rows += [(length, p, row) for row, length in enumerate(plan.lengths.tolist())]
    found: list[Batch] = []
    for shared, rows in kinds.items():
        rows.sort(key=lambda one: (-one[0], one[1], one[2]))
        chunk: list[tuple[int, int]] = []
        room = token_budget
        for length, p, row in rows:
            if chunk and length > room:
                found.append(Batch(tuple(chunk), shared))
                chunk, room = [], token_budget
            chunk.append((p, row))
            room -= length
        if chunk:
            found.append(Batch(tuple(chunk), shared))
    return found


def token_count(plans: Sequence[Plan]) -> int:
    """Tokens that go through the model."""
    return sum(len(plan.tokens) + len(plan.prefix) for plan in plans)


def continuation_logprobs(
    model: nn.Module,
    plans: Sequence[Plan],
    *,
    token_budget: int,
    device: torch.device,
    on_tokens: Callable[[int], None] = lambda tokens: None,
) -> list[list[tuple[float, bool]]]:
    """Sum of log p(token | tokens before it) over each continuation, in nats, and whether greedy decoding would write it.

    Args:
        model: a causal language model of transformers, or a PEFT model around one; in eval mode; `tree_attention.why_not` is None for it.
        plans: one a task.
        token_budget: at most this many tokens in a forward pass (one row at least).
        on_tokens: called with the number of tokens that went through the model.

    Returns:
        For each plan (log-likelihood, greedy) of each request, in order. An empty continuation has (0.0, True).
    """
    causal = causal_model(model)
    head = causal.get_output_embeddings()
    sums = [np.zeros(len(plan.empty)) for plan in plans]
    misses = [np.zeros(len(plan.empty), dtype=np.int64) for plan in plans]
    for batch, prefix in _with_prefix(causal, plans, batches(plans, token_budget), device, on_tokens):
        lengths = [int(plans[p].lengths[row]) for p, row in batch.rows]
        hidden = _hidden(causal, plans, batch, lengths, prefix, device)
        at, targets, owners = _reads(plans, batch, lengths)
        # Choices of one prompt read the same position: the head is applied to each once.
        places, which = np.unique(at, return_inverse=True)
        states = hidden[torch.from_numpy(places).to(device)]
        del hidden
        values, greedy = head_logprobs(
            states, head.weight, head.bias, torch.from_numpy(which).to(device), torch.from_numpy(targets).to(device)
        )
        for p in np.unique(owners[0]):
            own = owners[0] == p
            np.add.at(sums[p], owners[1][own], values[own])
            np.add.at(misses[p], owners[1][own], ~greedy[own])
        on_tokens(sum(lengths))
    return [[(float(s), bool(m == 0)) for s, m in zip(a, b, strict=True)] for a, b in zip(sums, misses, strict=True)]


def _hidden(causal: Any, plans: Sequence[Plan], batch: Batch, lengths: Sequence[int], prefix: Prefix, device: torch.device) -> Tensor:
    """The last hidden states [l, h] of the packed row that a batch makes."""
    tokens, depths, ends = (_joined(plans, batch, name) for name in ("tokens", "depths", "ends"))
    ids, at_depth = (torch.from_numpy(x.astype(np.int64)).to(device) for x in (tokens, depths))
    return last_hidden(causal, ids, at_depth, layout_of(causal, lengths, depths, ends, prefix))


def _with_prefix(
    causal: Any, plans: Sequence[Plan], work: Sequence[Batch], device: torch.device, on_tokens: Callable[[int], None]
) -> Iterator[tuple[Batch, Prefix]]:
    """Each batch with the keys and values of its shared beginning, which is run once; one beginning in memory at a time."""
    at: int | None = None
    prefix: Prefix = ()
    for batch in work:
        if batch.prefix != at:
            at, prefix = batch.prefix, ()
            if at is not None:
                prefix = run_prefix(causal, torch.from_numpy(plans[at].prefix.astype(np.int64)).to(device))
                on_tokens(len(plans[at].prefix))
        yield batch, prefix


def _joined(plans: Sequence[Plan], batch: Batch, name: str) -> np.ndarray:
    """A flat array of the plans, the batch's rows one after another."""
    return np.concatenate([getattr(plans[p], name)[plans[p].row_starts[row] : plans[p].row_starts[row + 1]] for p, row in batch.rows])


def _reads(plans: Sequence[Plan], batch: Batch, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Column in the packed row, wanted token, and (plan, request) of each read: int64 arrays of one length, by column."""
    at, targets, owner_plans, owners = [], [], [], []
    begin = 0
    for (p, row), length in zip(batch.rows, lengths, strict=True):
        part = slice(plans[p].read_starts[row], plans[p].read_starts[row + 1])
        at.append(plans[p].read_columns[part].astype(np.int64) + begin)
        targets.append(plans[p].read_targets[part].astype(np.int64))
        owners.append(plans[p].read_owners[part].astype(np.int64))
        owner_plans.append(np.full(len(at[-1]), p, dtype=np.int64))
        begin += length
    places, order = np.concatenate(at), np.argsort(np.concatenate(at), kind="stable")
    return places[order], np.concatenate(targets)[order], (np.concatenate(owner_plans)[order], np.concatenate(owners)[order])


def head_logprobs(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities under softmax(states @ weight.T + bias), in fp32 whatever the weights' dtype.

    Args:
        states: [m, h].
        weight: [v, h]; bias: [v] or None.
        which: int64 [r], the state of each read, rising; targets: int64 [r], its token.

    Returns:
        float64 [r] in nats, and bool [r]: whether no token is likelier than the target.
    """
    whole = weight.dtype == torch.float32
    step = max(1, _LOGITS_AT_ONCE // len(weight)) if whole else _STATES_AT_ONCE
    found = []
    with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
        for start in range(0, len(states), step):
            first, last = torch.searchsorted(which, torch.tensor([start, start + step], device=which.device)).tolist()
            work = _by_rows if whole else _by_columns
            found.append(work(states[start : start + step], weight, bias, which[first:last] - start, targets[first:last]))
    values, greedy = (torch.cat(side) for side in zip(*found, strict=True))
    return values.double().cpu().numpy(), greedy.cpu().numpy()


def _by_rows(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`head_logprobs` of an fp32 head.

    The softmax is torch's over a whole row, as in lm-eval: its own rounding (1e-5 a token against fp64 on a CPU) is then in both.
    """
    logits = F.linear(states.float(), weight, bias)
    wanted = logits[which, targets]
    greedy = wanted == logits.amax(dim=1)[which]
    values = torch.empty_like(wanted)
    for start in range(0, len(logits), _SOFTMAX_ROWS):
        first, last = torch.searchsorted(which, torch.tensor([start, start + _SOFTMAX_ROWS], device=which.device)).tolist()
        values[first:last] = F.log_softmax(logits[start : start + _SOFTMAX_ROWS], dim=-1)[which[first:last] - start, targets[first:last]]
    return values, greedy


def _by_columns(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`head_logprobs` of a head in a lower precision: pieces of the vocabulary in fp32, one after another, no row of logits ever whole."""
    rows = states.float()
    piece = rows.new_empty(min(_WEIGHTS_AT_ONCE, len(weight)), weight.shape[1])
    logits = rows.new_empty(len(rows), len(piece))
    best, total = rows.new_full((len(rows), 1), float("-inf")), rows.new_zeros(len(rows), 1)
    wanted = rows.new_zeros(len(which))
    for start in range(0, len(weight), len(piece)):
        size = min(len(piece), len(weight) - start)
        piece[:size] = weight[start : start + size]
        own = logits[:, :size]
        with exact_products(states.dtype if states.dtype == weight.dtype else torch.float32):
            torch.mm(rows, piece[:size].t(), out=own)
        if bias is not None:
            own += bias[start : start + size]
        inside = ((targets >= start) & (targets < start + size)).nonzero()[:, 0]
        wanted[inside] = own[which[inside], targets[inside] - start]
        higher = torch.maximum(best, own.amax(dim=1, keepdim=True))
        total = total * (best - higher).exp_() + own.sub_(higher).exp_().sum(dim=1, keepdim=True)
        best = higher
    return wanted - (best + total.log())[which, 0], wanted == best[which, 0]
