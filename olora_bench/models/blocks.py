"""Attention on a processor: blocks of queries against the keys that they may see, as plain matrix products, scores and softmax in fp32.

A query sees no key after its own, so a block leaves out what lies behind it. torch's own CPU kernel takes twice as long forward, and
several times as long back, at lengths of a few hundred tokens. Nothing of size t x t outlives a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from olora_bench.models.head import exact_products

QUERIES = 128
"""Queries of a block: fewer leave more out, and cost more calls."""


class Block(NamedTuple):
    """Queries `start` to `stop` of a sequence."""

    start: int
    stop: int


class Seen(NamedTuple):
    """Who looks at whom.

    Attributes:
        hide: adds minus infinity to a block's scores, fp32 [b, queries * repeats, keys up to its last query], where nothing is to be seen.
        scale: of scores.
        repeats: query heads that share a key head; they lie side by side.
        ahead: keys in front of the first query's own, which all see.
    """

    hide: Callable[[Tensor, Block], None]
    scale: float
    repeats: int
    ahead: int = 0

    def blocks(self, length: int) -> Iterator[tuple[Block, slice, slice]]:
        """Each block of a sequence of `length` queries, its rows, the keys that it may see."""
        for start in range(0, length, QUERIES):
            stop = min(length, start + QUERIES)
            yield Block(start, stop), slice(start * self.repeats, stop * self.repeats), slice(0, self.ahead + stop)


def attend(query: Tensor, key: Tensor, value: Tensor, seen: Seen) -> Tensor:
    """Attention of query [b, t * repeats, d] to key and value [b, ahead + t, d]: like `query`."""
    out = torch.empty_like(query)
    scaled, keys = query.float() * seen.scale, _columns(key)
    for block, rows, columns in seen.blocks(query.shape[1] // seen.repeats):
        found = _probabilities(scaled[:, rows], keys[:, :, columns], block, seen, query.dtype)
        out[:, rows] = torch.bmm(found.to(value.dtype), value[:, columns])
    return out


def attend_back(query: Tensor, key: Tensor, value: Tensor, grad: Tensor, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value from that of what `attend` gave, like each of them."""
    d_query, d_key, d_value = torch.empty_like(query), *(torch.zeros_like(side, dtype=torch.float32) for side in (key, value))
    scaled, keys, values, above = query.float() * seen.scale, _columns(key), _columns(value), grad.float()
    for block, rows, columns in seen.blocks(query.shape[1] // seen.repeats):
        found = _probabilities(scaled[:, rows], keys[:, :, columns], block, seen, query.dtype)
        with exact_products(query.dtype):
            d_found = torch.bmm(above[:, rows], values[:, :, columns])
        d_scores = torch._softmax_backward_data(d_found, found, -1, torch.float32).to(query.dtype)
        d_query[:, rows] = torch.bmm(d_scores, key[:, columns]).mul_(seen.scale)
        d_key[:, columns] += torch.bmm(d_scores.transpose(1, 2), query[:, rows])
        d_value[:, columns] += torch.bmm(found.to(grad.dtype).transpose(1, 2), grad[:, rows])
    return d_query, d_key.mul_(seen.scale).to(key.dtype), d_value.to(value.dtype)


def _columns(side: Tensor) -> Tensor:
    """fp32 [b, d, keys], laid out so: products with it run faster."""
    return side.float().transpose(1, 2).contiguous()


def _probabilities(scaled: Tensor, keys: Tensor, block: Block, seen: Seen, dtype: torch.dtype) -> Tensor:
    with exact_products(dtype):
        scores = torch.bmm(scaled, keys)
    seen.hide(scores, block)
    return torch.softmax(scores, -1)
