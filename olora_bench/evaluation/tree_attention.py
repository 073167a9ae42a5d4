"""Last hidden states of token tries, packed: one after another in one row, each token seeing its ancestors and a shared beginning.

All but attention works on single tokens, so a packed row computes no padding there. For attention, tries of similar length are set side by
side, padded to the longest of their group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, DynamicCache

from olora_bench.config.schema import PLAIN_FAMILIES
from olora_bench.models import attention, blocks, kernels
from olora_bench.models.causal import attending_as, causal_model

# Their position comes from position_ids alone and their log-likelihoods are the LM head on the last hidden state
# (no soft cap, no logit scale): seen equal to lm-eval's on each of these architectures in tests.
FAMILIES = PLAIN_FAMILIES
NAME = "olora_bench_tries"
"""What transformers knows this attention by."""

# Whether on a GPU -> a group ends where padding its tries to the longest computes more pairs of tokens than this: starting one more costs
# about as much. On a GPU that is the host's time for a dozen kernels a layer.
_WASTED_PAIRS = {False: 10_000, True: 1_000_000}
# The same -> keys of a group, the shared beginning copied in front of each trie among them.
_KEYS_AT_ONCE = {False: 8192, True: 65_536}
# A mask's rows begin at multiples of so many numbers: torch would copy others for its kernel in every layer.
_MASK_STRIDE = 8

Prefix = Sequence[tuple[Tensor, Tensor]]
"""(keys, values) of each layer: [kv_heads, p, d]."""


def why_not(model: nn.Module) -> str | None:
    """Why a model cannot be scored exactly by tries; None where it can."""
    causal = causal_model(model)
    family = causal.config.model_type
    if family not in FAMILIES:
        return f"model type {family} is none of those checked ({', '.join(FAMILIES)})"
    if type(causal.get_output_embeddings()) is not nn.Linear:
        return f"its LM head is a {type(causal.get_output_embeddings()).__name__} and no plain torch.nn.Linear"
    if causal.config._attn_implementation != "sdpa":
        return f"its attention is {causal.config._attn_implementation}, only sdpa is replaced by that of tries"
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return "its adapter puts virtual tokens in front of the prompt"
    return None


@dataclass(frozen=True)
class Group:
    """Tries of a packed row that attention computes side by side.

    Attributes:
        start, stop: the columns of the row that they take.
        gather: int64 [n, t], the row's column of each trie's token, relative to `start`; the trie's last where it is shorter than t.
        scatter: int64 [stop - start], where each column's token is found in the flattened [n * t]; None where nothing is padded.
        masks: by a layer's window, [n, t, repeats, p + t], added to scores: 0 where column i of a trie sees token j of the shared
            beginning, or its own column j - p; minus infinity elsewhere. Each i `repeats` times for a GPU's kernel, where heads that share
            keys are queries side by side, and in the model's dtype; once, and in fp32, for a processor.
    """

    start: int
    stop: int
    gather: Tensor
    scatter: Tensor | None
    masks: Mapping[int | None, Tensor]


@dataclass(frozen=True)
class Layout:
    """A packed row: its groups, and what all its tries have in front (empty for nothing)."""

    groups: tuple[Group, ...]
    prefix: Prefix


def layout_of(causal: Any, lengths: Sequence[int], depths: np.ndarray, ends: np.ndarray, prefix: Prefix) -> Layout:
    """The groups of a packed row of tries.

    Args:
        causal: whose window, heads, dtype and device the masks are for.
        lengths: tokens of each trie, falling or staying.
        depths: int [l], tokens above each token, the shared beginning left out.
        ends: int [l], the column after each token's subtree, within its trie.
    """
    config, weight = causal.config, causal.get_input_embeddings().weight
    repeats = config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    p = prefix[0][0].shape[1] if len(prefix) else 0
    starts = [0, *accumulate(lengths)]
    cuts = list(_cut(lengths, p, on_gpu=kernels.on_gpu(weight)))
    squares = [_square(np.array(lengths[a:b]), starts[a], depths, ends) for a, b in cuts]
    sent = iter(kernels.sent_together([one for square in squares for one in square if one is not None], weight.device))
    groups = []
    for (first, last), square in zip(cuts, squares, strict=True):
        at, depth, end, scatter = (None if one is None else next(sent) for one in square)
        assert at is not None and depth is not None and end is not None
        masks = {window: _mask(depth, end, p, window, weight.dtype, repeats) for window in _windows(config)}
        groups.append(Group(starts[first], starts[last], at, scatter, masks))
    return Layout(tuple(groups), prefix)


def _square(
    sizes: np.ndarray, start: int, depths: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Of tries of these sizes that begin at column `start`: `Group.gather`, each token's depth and end there, `Group.scatter`."""
    column = np.arange(sizes[0])
    real = column < sizes[:, None]
    at = (np.cumsum(sizes) - sizes)[:, None] + np.minimum(column, sizes[:, None] - 1)
    end = np.where(real, ends[start + at], column + 1)  # padding sees itself, for want of anything else
    return at, depths[start + at], end, None if real.all() else np.flatnonzero(real)


def _mask(depths: Tensor, ends: Tensor, prefix: int, window: int | None, dtype: torch.dtype, repeats: int) -> Tensor:
    """A mask of `Group.masks`. Two numbers a token go to a GPU and the mask is made there: it has as many as there are pairs of tokens."""
    seen = seen_by(depths, ends, prefix, window)
    if not kernels.on_gpu(seen):
        return torch.zeros(seen.shape).masked_fill_(~seen, -math.inf)[:, :, None]
    n, t, keys = seen.shape
    mask = torch.zeros(n, t, -(-keys // _MASK_STRIDE) * _MASK_STRIDE, dtype=dtype, device=seen.device)
    mask[:, :, :keys].masked_fill_(~seen, -math.inf)
    return mask.repeat_interleave(repeats, dim=1)[:, :, :keys].unflatten(1, (t, repeats))


def _windows(config: Any) -> set[int | None]:
    """The sliding windows that a model's layers ask attention for; None is no window. In other families the folder may name one, and none
    is used."""
    if config.model_type in ("mistral", "phi3"):
        return {config.sliding_window}
    if config.model_type in ("qwen3", "gemma3_text"):
        return {config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types}
    return {None}


def _cut(lengths: Sequence[int], prefix: int, *, on_gpu: bool) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(lengths):
        longest, wasted, last = lengths[first], 0, first + 1
        most = _KEYS_AT_ONCE[on_gpu] // (prefix + longest)
        while last < len(lengths) and last - first < most:
            wasted += longest * (prefix + longest) - lengths[last] * (prefix + lengths[last])
            if wasted > _WASTED_PAIRS[on_gpu]:
                break
            last += 1
        yield first, last
        first = last


def seen_by(depths: Tensor, ends: Tensor, prefix: int, window: int | None) -> Tensor:
    """Who sees whom, from depths and ends [n, t]: bool [n, t, prefix + t], the shared beginning first; `window` counts the seeing token."""
    (n, t), device = depths.shape, depths.device
    column = torch.arange(t, device=device)
    seen = (column[None, :, None] >= column[None, None, :]) & (column[None, :, None] < ends[:, None, :])
    if prefix:
        seen = torch.cat([seen.new_ones(n, t, prefix), seen], dim=2)
    if window is not None:
        at = depths + prefix
        keys = torch.cat([torch.arange(prefix, device=device).expand(n, -1), at], dim=1)
        seen &= at[:, :, None] - keys[:, None, :] < window
    return seen


def run_prefix(causal: Any, tokens: Tensor) -> Prefix:
    """Keys and values of the tokens [p] that many tries begin with."""
    # Without the config, no layer drops what a sliding window has passed: the mask decides who sees what.
    cache = DynamicCache()
    # Attention of our own: of the mask for its own transformers asks a GPU's values, which waits.
    with torch.no_grad(), attending_as(causal, attention.NAME):
        places = torch.arange(len(tokens), device=tokens.device)[None]
        layout = attention.layout_of([len(tokens)]).to(tokens.device)
        causal.base_model(input_ids=tokens[None], position_ids=places, past_key_values=cache, use_cache=True, layout=layout)
    return tuple((layer.keys[0], layer.values[0]) for layer in cache.layers)


def last_hidden(causal: Any, ids: Tensor, depths: Tensor, layout: Layout) -> Tensor:
    """The hidden states [l, h] that the LM head sees, in the model's dtype, of a packed row of tokens int64 [l] at depths int64 [l]."""
    in_front = layout.prefix[0][0].shape[1] if len(layout.prefix) else 0
    row, places = kernels.filled_up(ids, depths + in_front)
    with torch.no_grad(), attending_as(causal, NAME):
        found = causal.base_model(input_ids=row[None], position_ids=places[None], use_cache=False, layout=layout)
    hidden: Tensor = found.last_hidden_state[0, : len(ids)]
    return hidden


def tree_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, *mask: Tensor | None, layout: Layout, **options: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, heads, l, d], key and value [1, kv_heads, l, d], all of one packed row.

    `mask`, which transformers makes of the whole row, is not used: each group has its own. Of `options`, `scaling` of scores and
    `sliding_window` are. Columns past the last trie, which fill a row up, have 0.

    Returns:
        [1, l, heads, d]
    """
    kv_heads = key.shape[1]
    q = query[0].unflatten(0, (kv_heads, -1)).transpose(1, 2)  # [kv_heads, l, repeats, d]
    out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    if (end := layout.groups[-1].stop) < out.shape[1]:
        out[:, end:] = 0
    target = out[0].unflatten(1, (kv_heads, -1)).transpose(0, 1)
    attend, scale = _by_torchs_kernel if kernels.on_gpu(query) else _by_blocks, options.get("scaling") or query.shape[-1] ** -0.5
    for group in layout.groups:
        n, t = group.gather.shape
        queries = _taken(q, group).reshape(kv_heads, n, t * q.shape[2], -1)
        keys, values = (_taken(side[0], group).unflatten(1, (n, t)) for side in (key, value))
        ahead = tuple(side[:, None] for side in layout.prefix[module.layer_idx]) if len(layout.prefix) else ()
        found = attend(_Sides(queries, keys, values), ahead, group.masks[options.get("sliding_window")], scale)
        found = found.reshape(kv_heads, n * t, q.shape[2], -1)
        target[:, group.start : group.stop] = found if group.scatter is None else found.index_select(1, group.scatter)
    return out, None


class _Sides(NamedTuple):
    """Query [kv_heads, n, t * repeats, d]; key and value [kv_heads, n, keys, d]."""

    query: Tensor
    key: Tensor
    value: Tensor


def _by_torchs_kernel(sides: _Sides, ahead: tuple[Tensor, ...], mask: Tensor, scale: float) -> Tensor:
    """Attention of a group's tries under one of its masks, like the query. `ahead`: key and value [kv_heads, 1, p, d] in front or none."""
    q, k, v = (side.transpose(0, 1) for side in sides)
    if ahead:
        k, v = (torch.cat([far.transpose(0, 1).expand(len(own), -1, -1, -1), own], dim=2) for far, own in zip(ahead, (k, v), strict=True))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.flatten(1, 2)[:, None], scale=scale).transpose(0, 1)


def _by_blocks(sides: _Sides, ahead: tuple[Tensor, ...], mask: Tensor, scale: float) -> Tensor:
    """The same on a processor: columns lie in depth-first order, so none sees one behind it."""
    q, k, v = sides
    if ahead:
        k, v = (torch.cat([far.expand(-1, own.shape[1], -1, -1), own], dim=2) for far, own in zip(ahead, (k, v), strict=True))
    n, t, _, keys = mask.shape
    repeats = q.shape[2] // t

    def hide(scores: Tensor, block: blocks.Block) -> None:
        scores.view(-1, n, block.stop - block.start, repeats, scores.shape[2]).add_(mask[:, block.start : block.stop, :, : scores.shape[2]])

    found = blocks.attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), blocks.Seen(hide, scale, repeats, keys - t))
    return found.unflatten(0, (-1, n))


def _taken(side: Tensor, group: Group) -> Tensor:
    """A group's tokens [.., n * t, ..] of [.., l, ..], along dimension 1."""
    rows = side[:, group.start : group.stop]
    return rows if group.scatter is None else rows.index_select(1, group.gather.flatten())


AttentionInterface.register(NAME, tree_attention)
