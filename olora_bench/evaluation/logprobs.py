"""Log-likelihoods of a plan's continuations: tries through the backbone, the LM head in fp32 at the positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from olora_bench.evaluation.tree_attention import Prefix, last_hidden, layout_of, run_prefix
from olora_bench.evaluation.trie import Plan
from olora_bench.models import kernels
from olora_bench.models.causal import causal_model
from olora_bench.models.head import LOGITS_AT_ONCE, exact_products
from olora_bench.models.memory import Budget

# Logits of an fp32 head that a processor holds at a time: 2^23 fp32 numbers are 32 MiB, whatever the vocabulary and however many positions
# are read.
_LOGITS_AT_ONCE = 1 << 23
# Rows of logits that one softmax of a processor takes.
_SOFTMAX_ROWS = 16
# Of a head in another dtype on a processor: rows of its weight that are turned into fp32 at a time, and positions then read with them.
_WEIGHTS_AT_ONCE, _STATES_AT_ONCE = 2048, 1024


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass, the longest first: (plan, row) of each. `prefix` is the plan whose shared beginning they have, or None."""

    rows: tuple[tuple[int, int], ...]
    prefix: int | None


def all_rows(plans: Sequence[Plan]) -> list[Batch]:
    """The rows of each beginning as one batch, the longest first."""
    kinds: dict[int | None, list[tuple[int, int, int]]] = {}
    for p, plan in enumerate(plans):
        rows = kinds.setdefault(p if len(plan.prefix) else None, [])
        rows += [(length, p, row) for row, length in enumerate(plan.lengths.tolist())]
    ordered = ((shared, sorted(rows, key=lambda one: (-one[0], one[1], one[2]))) for shared, rows in kinds.items())
    return [Batch(tuple((p, row) for _, p, row in rows), shared) for shared, rows in ordered if rows]


def first_rows(plans: Sequence[Plan], batch: Batch, token_budget: int) -> tuple[Batch, Batch | None]:
    """Cut a batch in two: its first rows, of at most `token_budget` tokens in all (one row at least), and the others, if there are any."""
    held, stop = 0, 0
    for p, row in batch.rows:
        held += int(plans[p].row_starts[row + 1] - plans[p].row_starts[row])
        if stop and held > token_budget:
            break
        stop += 1
    rest = batch.rows[stop:]
    return Batch(batch.rows[:stop], batch.prefix), Batch(rest, batch.prefix) if rest else None


def token_count(plans: Sequence[Plan]) -> int:
    """Tokens that go through the model."""
    return sum(len(plan.tokens) + len(plan.prefix) for plan in plans)


def continuation_logprobs(
    model: nn.Module,
    plans: Sequence[Plan],
    *,
    budget: Budget,
    on_tokens: Callable[[int], None] = lambda tokens: None,
) -> list[list[tuple[float, bool]]]:
    """Sum of log p(token | tokens before it) over each continuation, in nats, and whether greedy decoding would write it.

    Args:
        model: a causal language model of transformers, or a PEFT model around one; in eval mode; `tree_attention.why_not` is None for it.
        plans: one a task.
        budget: at most this many tokens in a forward pass (one row at least); lowered when memory runs out.
        on_tokens: called with the number of tokens that went through the model.

    Returns:
        For each plan (log-likelihood, greedy) of each request, in order. An empty continuation has (0.0, True).
    """
    causal, device = causal_model(model), budget.device
    found: list[_Read] = []
    for rows in all_rows(plans):
        prefix: Prefix = ()
        if rows.prefix is not None:
            prefix = run_prefix(causal, *_sent(device, plans[rows.prefix].prefix))
            on_tokens(len(plans[rows.prefix].prefix))
        left: Batch | None = rows
        while left is not None:
            pass_over = partial(_next, causal, plans, left, budget, prefix)
            read, left = budget.fitting(pass_over)
            found.append(read)
            on_tokens(read.tokens)
    return _by_request(plans, found)


class _Read(NamedTuple):
    """What a forward pass of `tokens` tokens gave: plan and request of each read, int64; its log-probability and whether it is greedy, both
    perhaps still on a GPU."""

    plans: np.ndarray
    requests: np.ndarray
    values: Tensor
    greedy: Tensor
    tokens: int


def _next(causal: Any, plans: Sequence[Plan], left: Batch, budget: Budget, prefix: Prefix) -> tuple[_Read, Batch | None]:
    """The first rows of a batch, as many as the budget allows, and those that are left."""
    batch, rest = first_rows(plans, left, budget.tokens)
    lengths = [int(plans[p].lengths[row]) for p, row in batch.rows]
    hidden = _hidden(causal, plans, batch, lengths, prefix, budget.device)
    at, targets, owners = _reads(plans, batch, lengths)
    # Choices of one prompt read the same position: the head is applied to each once.
    places, which = np.unique(at, return_inverse=True)
    states = hidden.index_select(0, *_sent(budget.device, places))
    del hidden
    head = causal.get_output_embeddings()
    return _Read(*owners, *head_logprobs(states, head.weight, head.bias, which, targets), sum(lengths)), rest


def _by_request(plans: Sequence[Plan], found: Iterable[_Read]) -> list[list[tuple[float, bool]]]:
    """What was read, added up by request."""
    sums = [np.zeros(len(plan.empty)) for plan in plans]
    misses = [np.zeros(len(plan.empty), dtype=np.int64) for plan in plans]
    for read in found:
        values, greedy = read.values.double().cpu().numpy(), read.greedy.cpu().numpy()  # here a GPU is waited for
        for p in np.unique(read.plans):
            own = read.plans == p
            np.add.at(sums[p], read.requests[own], values[own])
            np.add.at(misses[p], read.requests[own], ~greedy[own])
    return [[(float(s), bool(m == 0)) for s, m in zip(a, b, strict=True)] for a, b in zip(sums, misses, strict=True)]


def _sent(device: torch.device, *numbers: np.ndarray) -> list[Tensor]:
    """int64 on the device."""
    return kernels.sent_together([one.astype(np.int64) for one in numbers], device)


def _hidden(causal: Any, plans: Sequence[Plan], batch: Batch, lengths: Sequence[int], prefix: Prefix, device: torch.device) -> Tensor:
    """The last hidden states [l, h] of the packed row that a batch makes."""
    tokens, depths, ends = (_joined(plans, batch, name) for name in ("tokens", "depths", "ends"))
    ids, places = _sent(device, tokens, depths)
    return last_hidden(causal, ids, places, layout_of(causal, lengths, depths, ends, prefix))


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


def head_logprobs(states: Tensor, weight: Tensor, bias: Tensor | None, which: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Log-probabilities under softmax(states @ weight.T + bias), in fp32 whatever the weights' dtype.

    Args:
        states: [m, h].
        weight: [v, h]; bias: [v] or None.
        which: int64 [r], the state of each read, rising; targets: int64 [r], its token: where the processor is.

    Returns:
        fp32 [r] in nats, and bool [r]: whether no token is likelier than the target. On the device: nothing here waits for a GPU.
    """
    work, step = _way(weight)
    wanted, of = _sent(states.device, targets, which)
    found = []
    with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
        for start in range(0, len(states), step):
            first, last = np.searchsorted(which, [start, start + step]).tolist()
            found.append(work(states[start : start + step], weight, bias, of[first:last] - start, wanted[first:last]))
    values, greedy = (torch.cat(side) for side in zip(*found, strict=True))
    return values, greedy


def _way(weight: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], int]:
    """What reads a piece of the states with this head, and how many of them it takes."""
    if kernels.on_gpu(weight):
        return _by_tensor_cores, max(1, LOGITS_AT_ONCE // len(weight))
    if weight.dtype == torch.float32:
        return _by_rows, max(1, _LOGITS_AT_ONCE // len(weight))
    return _by_columns, _STATES_AT_ONCE


def _by_tensor_cores(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`head_logprobs` on a GPU: one product with fp32 results, one softmax."""
    if weight.dtype == torch.float32:
        logits = F.linear(states.float(), weight, bias)
    else:
        logits = kernels.wide_product(states, weight.t())
        logits = logits if bias is None else logits.add_(bias)
    wanted = logits[which, targets]
    return F.log_softmax(logits, dim=-1)[which, targets], wanted == logits.amax(dim=1)[which]


def _by_rows(states: Tensor, weight: Tensor, bias: Tensor | None, which: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`head_logprobs` of an fp32 head.

    The softmax is torch's over a whole row, as in lm-eval: its own rounding (1e-5 a token against fp64 on a CPU) is then in both.
    """
    logits = F.linear(states.float(), weight, bias)
    wanted = logits[which, targets]
    greedy = wanted == logits.amax(dim=1)[which]
    values = torch.empty_like(wanted)
    for start in range(0, len(logits), _SOFTMAX_ROWS):
        first, last = torch.searchsorted(which, torch.tensor([start, start + _SOFTMAX_ROWS])).tolist()
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
