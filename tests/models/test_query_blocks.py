"""Attention by blocks of queries: torch's own attention and its gradient, whatever the lengths."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from olora_bench.models import blocks, kernels

LENGTHS = (1, 5, 127, 128, 129, 300)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def causal(t: int, ahead: int) -> Tensor:
    """[t, ahead + t]: 0 where a query may look."""
    return torch.full((t, ahead + t), -math.inf).triu_(1 + ahead)


def seen(t: int, repeats: int, ahead: int) -> blocks.Seen:
    mask = causal(t, ahead).repeat_interleave(repeats, 0)

    def hide(scores: Tensor, block: blocks.Block) -> None:
        scores += mask[block.start * repeats : block.stop * repeats, : scores.shape[2]]

    return blocks.Seen(hide, 0.3, repeats, ahead)


def by_torch(query: Tensor, key: Tensor, value: Tensor, repeats: int) -> Tensor:
    """In doubles."""
    t = query.shape[1] // repeats
    mask = causal(t, key.shape[1] - t).repeat_interleave(repeats, 0).double()
    return F.scaled_dot_product_attention(query.double(), key.double(), value.double(), attn_mask=mask, scale=0.3)


@pytest.mark.parametrize("t", LENGTHS)
@pytest.mark.parametrize(("repeats", "ahead"), [(1, 0), (3, 0), (2, 40)])
def test_blocks_are_torchs_attention(t: int, repeats: int, ahead: int) -> None:
    query, key, value = drawn(2, t * repeats, 8), drawn(2, ahead + t, 8), drawn(2, ahead + t, 8) + 1
    found = blocks.attend(query, key, value, seen(t, repeats, ahead))
    torch.testing.assert_close(found.double(), by_torch(query, key, value, repeats), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("t", LENGTHS)
@pytest.mark.parametrize(("repeats", "ahead"), [(1, 0), (3, 0), (2, 40)])
def test_their_gradients_are_torchs(t: int, repeats: int, ahead: int) -> None:
    sides = [side.requires_grad_() for side in (drawn(2, t * repeats, 8), drawn(2, ahead + t, 8), drawn(2, ahead + t, 8) + 1)]
    above = drawn(2, t * repeats, 8) - 0.5
    want = torch.autograd.grad(by_torch(*sides, repeats), sides, above.double())
    have = blocks.attend_back(*(side.detach() for side in sides), above, seen(t, repeats, ahead))
    for got, wanted in zip(have, want, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("t", [5, 300])
def test_in_bf16_they_are_about_as_near_to_doubles_as_torchs_kernel(t: int) -> None:
    """Probabilities are rounded once normalised, as in transformers' eager attention; torch's kernel rounds them before."""
    query, key, value = (drawn(4, t, 64, dtype=torch.bfloat16) for _ in range(3))
    exact = by_torch(query, key, value, 1)
    found = blocks.attend(query, key, value, seen(t, 1, 0)).double()
    kernel = F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True, scale=0.3)[0].double()
    assert (found - exact).norm() <= 1.4 * (kernel - exact).norm()


def test_a_query_behind_its_block_is_not_read() -> None:
    """Keys that no query of a block sees may be anything."""
    query, key, value = drawn(1, 300, 8), drawn(1, 300, 8), drawn(1, 300, 8)
    before = blocks.attend(query, key, value, seen(300, 1, 0))
    key[:, blocks.QUERIES :], value[:, blocks.QUERIES :] = math.nan, math.nan
    assert torch.equal(blocks.attend(query, key, value, seen(300, 1, 0))[:, : blocks.QUERIES], before[:, : blocks.QUERIES])


@pytest.mark.parametrize(("length", "filled"), [(1, 64), (64, 64), (65, 128)])
def test_a_processors_rows_are_filled_up_with_zeros(length: int, filled: int) -> None:
    ids, places = torch.ones(1, length, dtype=torch.int64), torch.ones(length)
    rows = kernels.filled_up(ids, places)
    assert [row.shape[-1] for row in rows] == [filled, filled]
    assert [int(row.sum()) for row in rows] == [length, length]
