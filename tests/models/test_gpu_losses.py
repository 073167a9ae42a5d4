"""A GPU's way of reading losses, run on a processor with its kernels' formulas in their place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_losses import TINY, adapted, by_transformers, nll_of, rows
from torch import nn

from olora_bench.models import Base, LmHead, pack
from olora_bench.models.attention import layout_of, packed_attention
from tests import gpu_twins


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("name", TINY)
def test_a_gpus_losses_and_gradients_equal_transformers(
    name: str, flash: bool, tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On each of the five architectures, in fp32, through an adapter: 1e-5 relative."""
    gpu_twins.use(monkeypatch, flash=flash)
    model = adapted(tiny(name).model)
    ours, theirs = nll_of(model, pack(rows())), by_transformers(model, rows())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for mine, other in zip(*(torch.autograd.grad(nll.sum(), parameters) for nll in (ours, theirs)), strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_attention_over_examples_as_they_lie_sees_what_a_block_diagonal_mask_lets_see(
    kv_heads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets, longest example, window and scale are handed over as the kernel takes them."""
    gpu_twins.use(monkeypatch)
    torch.manual_seed(0)
    lengths = (20, 20, 13, 5, 1)
    owner, at = torch.repeat_interleave(torch.arange(5), torch.tensor(lengths)), torch.arange(sum(lengths))
    query, key, value = (torch.randn(1, heads, sum(lengths), 8) for heads in (6, kv_heads, kv_heads))
    seen = (owner[:, None] == owner) & (at[:, None] >= at)
    if window is not None:
        seen &= at[:, None] - at < window
    theirs = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True, scale=0.3).transpose(1, 2)
    ours, _ = packed_attention(None, query, key, value, None, layout=layout_of(lengths), sliding_window=window, scaling=0.3)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_in_16_bits_is_read_with_fp32_results(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses as in fp64 from the rounded weights, 1e-5; the gradient as far as probabilities rounded to bf16 let it be."""
    gpu_twins.use(monkeypatch)
    monkeypatch.setattr("olora_bench.models.head.LOGITS_AT_ONCE", 300 * 4)  # pieces that do not divide the states
    generator = torch.Generator().manual_seed(0)
    weight, states = (torch.randn(count, 16, generator=generator).bfloat16() for count in (300, 9))
    offset, targets = torch.randn(300, generator=generator) if bias else None, torch.randint(300, (9,), generator=generator)
    states.requires_grad_()
    exact = states.detach().double().requires_grad_()
    logits = nn.functional.linear(exact, weight.double(), None if offset is None else offset.double())
    theirs = nn.functional.cross_entropy(logits, targets, reduction="none")
    ours = LmHead(weight, weight, offset).nll(states, targets)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    mine, other = (torch.autograd.grad(nll.sum(), at)[0].double() for nll, at in ((ours, states), (theirs, exact)))
    assert (mine - other).norm() <= 0.01 * other.norm()
