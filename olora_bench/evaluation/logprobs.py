"""Log-likelihoods of a plan's continuations: tries through the backbone, the LM head in fp32 at the positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache

from olora_bench.evaluation.tree_attention import causal_model, last_hidden, run_prefix
from olora_bench.evaluation.trie import Plan

# Logits held at a time, twice: 2^22 fp32 numbers are 16 MiB, whatever the vocabulary and however many positions are read.
_LOGITS_AT_ONCE = 1 << 22
# Rows of an LM head in another dtype that are turned into fp32 at a time.
_WEIGHTS_AT_ONCE = 4096
# A batch ends where padding rows to its longest would waste more tokens than this: starting one more forward pass costs about as much.
_WASTE = 128


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass: (plan, row) of each. `prefix` is the plan whose shared beginning they have in front, or None."""

    rows: tuple[tuple[int, int], ...]
    longest: int
    prefix: int | None
    chains: bool


def batches(plans: Sequence[Plan], token_budget: int) -> list[Batch]:
    """Cut rows into batches of at most `token_budget` padded tokens (one row at least), the longest first within each beginning.

    Rows that attend to a long shared beginning hold a copy of it for the layer at work: together at most 4 budgets of such tokens.
    """
    kinds: dict[tuple[int | None, bool], list[tuple[int, int, int]]] = {}
    for p, plan in enumerate(plans):
        shared = p if len(plan.prefix) else None
        for row, length in enumerate(plan.lengths.tolist()):
            kinds.setdefault((shared, shared is None and plan.is_chain(row)), []).append((length, p, row))
    found: list[Batch] = []
    for (shared, chains), rows in kinds.items():
        rows.sort(key=lambda one: (-one[0], one[1], one[2]))
        in_front = 0 if shared is None else len(plans[shared].prefix)
        start = 0
        while start < len(rows):
            longest = rows[start][0]
            most = max(1, min(token_budget // longest, 4 * token_budget // (in_front + longest)))
            padding = accumulate(longest - length for length, _, _ in rows[start : start + most])
            count = sum(1 for _ in takewhile(lambda wasted: wasted <= _WASTE, padding))
            chunk = rows[start : start + count]
            found.append(Batch(tuple((p, row) for _, p, row in chunk), longest, shared, chains))
            start += count
    return sorted(found, key=lambda b: (-1 if b.prefix is None else b.prefix, -b.longest))


def token_count(plans: Sequence[Plan]) -> int:
    """Tokens that go through the model, padding left out."""
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
        token_budget: at most this many padded tokens in a forward pass (one row at least).
        on_tokens: called with the number of tokens that went through the model.

    Returns:
        For each plan (log-likelihood, greedy) of each request, in order. An empty continuation has (0.0, True).
    """
    causal = causal_model(model)
    head = causal.get_output_embeddings()
    sums = [np.zeros(len(plan.empty)) for plan in plans]
    misses = [np.zeros(len(plan.empty), dtype=np.int64) for plan in plans]
    for batch, prefix in _with_prefix(causal, plans, batches(plans, token_budget), device, on_tokens):
        ids, depths, ends = (torch.from_numpy(x).to(device) for x in _padded(plans, batch))
        hidden = last_hidden(causal, ids, depths, ends, prefix, chains=batch.chains)
        at, targets, owners = _reads(plans, batch)
        # Choices of one prompt read the same position: the head is applied to each once.
        places, which = np.unique(at, return_inverse=True)
        states = hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(places).to(device)]
        values, greedy = head_logprobs(
            states, head.weight, head.bias, torch.from_numpy(which).to(device), torch.from_numpy(targets).to(device)
        )
        for p in np.unique(owners[0]):
            own = owners[0] == p
            np.add.at(sums[p], owners[1][own], values[own])
            np.add.at(misses[p], owners[1][own], ~greedy[own])
        on_tokens(sum(int(plans[p].lengths[row]) for p, row in batch.rows))
    return [[(float(s), bool(m == 0)) for s, m in zip(a, b, strict=True)] for a, b in zip(sums, misses, strict=True)]


def _with_prefix(
    causal: Any, plans: Sequence[Plan], work: Sequence[Batch], device: torch.device, on_tokens: Callable[[int], None]
) -> Iterator[tuple[Batch, Cache | None]]:
    """Each batch with the keys and values of its shared beginning, which is run once; one beginning in memory at a time."""
    at: int | None = None
    cache: Cache | None = None
    for batch in work:
        if batch.prefix != at:
            at, cache = batch.prefix, None
            if at is not None:
                cache = run_prefix(causal, torch.from_numpy(plans[at].prefix.astype(np.int64)).to(device))
                on_tokens(len(plans[at].prefix))
        yield batch, cache


def _padded(plans: Sequence[Plan], batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, depths, ends: int64 [rows, longest]. Padding sees itself alone."""
    shape = (len(batch.rows), batch.longest)
    ids, depths = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    ends = np.tile(np.arange(1, batch.longest + 1), (len(batch.rows), 1))
    for i, (p, row) in enumerate(batch.rows):
        plan = plans[p]
        start, stop = plan.row_starts[row], plan.row_starts[row + 1]
        ids[i, : stop - start], depths[i, : stop - start] = plan.tokens[start:stop], plan.depths[start:stop]
        ends[i, : stop - start] = plan.ends[start:stop]
    return ids, depths, ends


def _reads(plans: Sequence[Plan], batch: Batch) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Flat position in [rows * longest], wanted token, and (plan, request) of each read: int64 arrays of one length, by position."""
    at, targets, owner_plans, owners = [], [], [], []
    for i, (p, row) in enumerate(batch.rows):
        part = slice(plans[p].read_starts[row], plans[p].read_starts[row + 1])
        at.append(plans[p].read_columns[part].astype(np.int64) + i * batch.longest)
        targets.append(plans[p].read_targets[part].astype(np.int64))
        owners.append(plans[p].read_owners[part].astype(np.int64))
        owner_plans.append(np.full(len(at[-1]), p, dtype=np.int64))
    places, order = np.concatenate(at), np.argsort(np.concatenate(at), kind="stable")
    return places[order], np.concatenate(targets)[order], (np.concatenate(owner_plans)[order], np.concatenate(owners)[order])


def head_logprobs(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities under softmax(states @ weight.T + bias), in fp32 whatever the weights' dtype.

    The softmax is torch's over a whole row, as in lm-eval: its own rounding (1e-5 a token against fp64 on a CPU) is then in both.

    Args:
        states: [m, h].
        weight: [v, h]; bias: [v] or None.
        which: int64 [r], the state of each read, rising; targets: int64 [r], its token.

    Returns:
        float64 [r] in nats, and bool [r]: whether the target is the likeliest token (the first of equals).
    """
    values, greedy = [], []
    rows = max(1, _LOGITS_AT_ONCE // len(weight))
    with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
        for start in range(0, len(states), rows):
            logits = _logits(states[start : start + rows].float(), weight, bias)
            here = (which >= start) & (which < start + rows)
            row, wanted = which[here] - start, targets[here]
            greedy.append(logits.argmax(dim=1)[row] == wanted)
            values.append(F.log_softmax(logits, dim=-1)[row, wanted])
    return torch.cat(values).double().cpu().numpy(), torch.cat(greedy).cpu().numpy()


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """fp32 [m, v], without a whole fp32 copy of weights of another dtype."""
    if weight.dtype == torch.float32:
        return F.linear(states, weight, bias)
    logits = states.new_empty(len(states), len(weight))
    for start in range(0, len(weight), _WEIGHTS_AT_ONCE):
        piece = slice(start, start + _WEIGHTS_AT_ONCE)
        logits[:, piece] = F.linear(states, weight[piece].float(), None if bias is None else bias[piece].float())
    return logits
