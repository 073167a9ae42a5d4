"""Attention of packed rows: several examples one after another in one row, each token sees only its own example's tokens before it.

Everything but attention works on single tokens, so a packed row computes no padding there. For attention, examples of similar length are
set side by side, padded to the longest of their group; padding lies after an example's tokens, where no causal query looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from olora_bench.models import blocks, kernels

NAME = "olora_bench_packed"
"""What transformers knows this attention by."""

_GROUP_OVERHEAD = 3e4  # what one more group costs, in pairs of tokens


@dataclass(frozen=True)
class Group:
    """Examples of a packed row that attention computes side by side.

    Attributes:
        start, stop: the columns of the row that they take.
        gather: int64 [n, t], the row's column of each example's token, relative to `start`; past an example's end that of its last one.
        scatter: int64 [stop - start], where each column's token is found in the flattened [n * t]. None where nothing is padded.
    """

    start: int
    stop: int
    gather: Tensor
    scatter: Tensor | None

    def to(self, device: torch.device) -> Group:
        """The same on `device`."""
        scatter = None if self.scatter is None else kernels.sent(self.scatter, device)
        return Group(self.start, self.stop, kernels.sent(self.gather, device), scatter)


@dataclass(frozen=True)
class Layout:
    """How the examples of a packed row lie: their lengths, which fall or stay; `offsets`, int32 [n + 1]: where each begins, and the end."""

    lengths: tuple[int, ...]
    offsets: Tensor

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """How attention sets the examples side by side where it cannot take them as they lie: the cut that computes the fewest pairs."""
        return tuple(group.to(self.offsets.device) for group in _grouped(self.lengths))

    @property
    def rows(self) -> kernels.Rows:
        """What attention needs that takes the examples as they lie."""
        return kernels.Rows(self.offsets, self.lengths[0])

    def to(self, device: torch.device) -> Layout:
        """The same on `device`."""
        return Layout(self.lengths, kernels.sent(self.offsets, device))


class Pattern(NamedTuple):
    """Who looks at whom in a packed row: its examples, the scale of scores, the longest look back in tokens (None: to the beginning)."""

    layout: Layout
    scale: float
    window: int | None


class Options(TypedDict, total=False):
    """What transformers' attention layers ask for; further keys that some of them give are not used."""

    scaling: float | None
    dropout: float
    sliding_window: int | None


def layout_of(lengths: Sequence[int]) -> Layout:
    """The layout of a packed row of examples of these lengths, which must fall (or stay)."""
    return Layout(tuple(lengths), torch.tensor([0, *accumulate(lengths)], dtype=torch.int32))


def _grouped(lengths: Sequence[int]) -> tuple[Group, ...]:
    groups: list[Group] = []
    start = 0
    for chunk in _cheapest(lengths):
        sizes = torch.tensor([lengths[i] for i in chunk])
        starts = torch.cumsum(sizes, 0) - sizes
        longest = int(sizes[0])
        column = torch.arange(longest)
        gather = starts[:, None] + torch.minimum(column[None], sizes[:, None] - 1)
        real = column[None] < sizes[:, None]
        total = int(sizes.sum())
        scatter = None if total == gather.numel() else real.flatten().nonzero().flatten()
        groups.append(Group(start, start + total, gather, scatter))
        start += total
    return tuple(groups)


def _cheapest(lengths: Sequence[int]) -> list[range]:
    n = len(lengths)
    best, after = [0.0] * (n + 1), [n] * n
    for i in reversed(range(n)):
        best[i], after[i] = min((_GROUP_OVERHEAD + (j - i) * lengths[i] ** 2 + best[j], j) for j in range(i + 1, n + 1))
    chunks, start = [], 0
    while start < n:
        chunks.append(range(start, after[start]))
        start = after[start]
    return chunks


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *mask: Tensor | None, layout: Layout, **options: Unpack[Options]
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, heads, l, d], key and value [1, kv_heads, l, d], all of one packed row.

    `mask`, which transformers makes of the whole row, is not used: `layout` says which tokens are of one example.

    Returns:
        [1, l, heads, d]

    Raises:
        ValueError: attention dropout, of which no recipe here has any.
    """
    if dropout := options.get("dropout"):
        raise ValueError(f"packed attention has no dropout (asked for {dropout}): the frozen base is in evaluation mode")
    scaling = options.get("scaling")
    pattern = Pattern(layout, query.shape[-1] ** -0.5 if scaling is None else scaling, options.get("sliding_window"))
    if not kernels.on_gpu(query):
        return _CausalAttention.apply(query, key, value, pattern), None
    q, k, v = (side.squeeze(0).transpose(0, 1) for side in (query, key, value))
    return rows_attention(q, k, v, pattern)[None], None


def rows_attention(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
    """`packed_attention` on a GPU: query [l, heads, d], key and value [l, kv_heads, d]; [l, heads, d], with torch's own gradient."""
    q, k, v = (side.transpose(0, 1)[None] for side in (query, key, value))
    if kernels.takes_rows(q, k, v):
        return kernels.rows_attention(query, key, value, pattern.layout.rows, pattern.scale, pattern.window)
    return by_torchs_kernel(q, k, v, pattern)[0]


def by_torchs_kernel(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
    """`packed_attention` for GPUs whose flash attention does not take the tensors: [1, l, heads, d], with torch's own gradient."""
    return torch.cat([_sdpa(query, key, value, group, pattern) for group in pattern.layout.groups])[None]


def _sdpa(query: Tensor, key: Tensor, value: Tensor, group: Group, pattern: Pattern) -> Tensor:
    """[tokens, heads, d] of one group's tokens, by torch's kernel forward and backward."""
    q, k, v = (_square(side, group, query.shape[1]) for side in (query, key, value))
    mask = _window_mask(group, pattern.window, query.device)
    square = F.scaled_dot_product_attention(
        q, k, v, attn_mask=None if mask is None else mask.to(query.dtype), is_causal=mask is None, scale=pattern.scale
    )
    rows = square.transpose(1, 2).flatten(0, 1)
    return rows if group.scatter is None else rows.index_select(0, group.scatter)


class _CausalAttention(torch.autograd.Function):
    """All groups of a packed row, on a processor: by blocks of queries (`models/blocks.py`), forward and back.

    Columns past the last example, which fill a row up, have 0 in what comes out and in every gradient.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.pattern = pattern
        sides = _by_kv_head(query, key, value)
        out = _like_projections(query, pattern.layout)
        target = _by_kv_head(out, key, value)[0]
        for group in pattern.layout.groups:
            q, k, v = (_taken(side, group) for side in sides)
            _put(target, group, blocks.attend(q, k, v, _seen(pattern, q, k)))
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        grads = [_like_projections(tensor, ctx.pattern.layout) for tensor in (query, key, value)]
        sides, targets = _by_kv_head(query, key, value), _by_kv_head(*grads)
        above = _by_kv_head(grad.transpose(1, 2), key, value)[0]
        for group in ctx.pattern.layout.groups:
            q, k, v = (_taken(side, group) for side in sides)
            found = blocks.attend_back(q, k, v, _taken(above, group, pad=True), _seen(ctx.pattern, q, k))
            for target, values in zip(targets, found, strict=True):
                _put(target, group, values)
        d_query, d_key, d_value = grads
        return d_query, d_key, d_value, None


def _like_projections(side: Tensor, layout: Layout) -> Tensor:
    """Room like `side`, [1, heads, l, d], that lies as the projections' outputs do, [1, l, heads, d]: their products then need no copy."""
    room = side.new_empty(side.transpose(1, 2).shape)
    if (end := sum(layout.lengths)) < room.shape[1]:
        room[:, end:] = 0
    return room.transpose(1, 2)


def _seen(pattern: Pattern, query: Tensor, key: Tensor) -> blocks.Seen:
    """Who looks at whom in a group: query [b, t * repeats, d], key [b, t, d]."""
    t, repeats = key.shape[1], query.shape[1] // key.shape[1]
    longest = blocks.QUERIES if pattern.window is None else -(-t // 64) * 64
    mask = _causal(longest, pattern.window, repeats, query.device)

    def hide(scores: Tensor, block: blocks.Block) -> None:
        if pattern.window is None:  # then only the block's own keys can lie behind its queries
            scores[:, :, block.start :] += mask[: scores.shape[1], : block.stop - block.start]
        else:
            scores += mask[block.start * repeats : block.stop * repeats, : block.stop]

    return blocks.Seen(hide, pattern.scale, repeats)


def _window_mask(group: Group, window: int | None, device: torch.device) -> Tensor | None:
    """fp32 [t, t] where a sliding window is shorter than the group's longest example; else causal attention is all there is."""
    t = group.gather.shape[1]
    return None if window is None or window >= t else _causal(t, window, 1, device)


def _square(side: Tensor, group: Group, heads: int) -> Tensor:
    """[n, heads, t, d] of a group, from [1, heads or fewer, l, d]: key heads are repeated for the queries that share them."""
    n, t = group.gather.shape
    rows = side[0].transpose(0, 1)[group.start : group.stop]
    if group.scatter is not None:
        rows = rows.index_select(0, group.gather.flatten())
    if len(side[0]) != heads:
        rows = rows.repeat_interleave(heads // len(side[0]), 1)
    return rows.unflatten(0, (n, t)).transpose(1, 2)


def _by_kv_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Views [kv_heads, l, repeats, d] of tensors [1, heads, l, d]: queries that share a key head are rows of one product."""
    kv_heads = key.shape[1]
    q, k, v = (tensor[0].unflatten(0, (kv_heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return q, k, v


def _taken(side: Tensor, group: Group, *, pad: bool = False) -> Tensor:
    """[kv_heads * n, t * repeats, d] of a group. Padding repeats an example's last token; with `pad` it is 0."""
    n, t = group.gather.shape
    kv_heads, _, repeats, d = side.shape
    rows = side[:, group.start : group.stop]
    if group.scatter is not None and pad:
        square = side.new_zeros(kv_heads, n * t, repeats, d)
        square[:, group.scatter] = rows
    elif group.scatter is not None:
        square = rows.index_select(1, group.gather.flatten())
    else:
        square = rows
    return square.reshape(kv_heads * n, t * repeats, d)


def _put(target: Tensor, group: Group, values: Tensor) -> None:
    """Write [kv_heads * n, t * repeats, d] into the group's columns of `target` [kv_heads, l, repeats, d]."""
    kv_heads, _, repeats, d = target.shape
    square = values.view(kv_heads, -1, repeats, d)
    target[:, group.start : group.stop] = square if group.scatter is None else square.index_select(1, group.scatter)


@lru_cache(maxsize=4)
def _causal(t: int, window: int | None, repeats: int, device: torch.device) -> Tensor:
    """0 where the query of a row may look, minus infinity elsewhere: fp32 [t * repeats, t], each query `repeats` times."""
    mask = torch.full((t, t), -math.inf, device=device).triu_(1)
    if window is not None:
        mask += torch.full((t, t), -math.inf, device=device).tril_(-window)
    return mask.repeat_interleave(repeats, 0)


AttentionInterface.register(NAME, packed_attention)
