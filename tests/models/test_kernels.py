"""What a GPU is sent and what its kernels stand for, as far as a processor can show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_losses import adapted, rows

from olora_bench.evaluation.tree_attention import last_hidden, layout_of, run_prefix
from olora_bench.models import Base, LmHead, PackedRows, compiled, fused_gpu, kernels, pack, token_nll
from olora_bench.models.general import is_general
from tests import gpu_twins


def test_what_is_sent_together_arrives_as_it_was_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several dtypes and shapes, some empty, one not contiguous; each begins where a kernel's widest load may."""
    copies: list[torch.Tensor] = []
    monkeypatch.setattr(kernels, "sent", lambda tensor, device: copies.append(tensor) or tensor)
    arrays = [
        np.arange(7, dtype=np.int64), np.arange(6, dtype=np.int32).reshape(2, 3), np.array([True, False, True]), np.zeros((0, 4), np.int64),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
    ]  # fmt: skip
    found = kernels.sent_together(arrays, torch.device("cuda"))
    for tensor, array in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array, strict=True)
        assert (tensor.data_ptr() - copies[0].data_ptr()) % 16 == 0
    assert len(copies) == 1


@pytest.mark.parametrize("family", ["packed", "general", "tries", "prefix"])
def test_no_plan_is_made_for_each_shape(family: str, tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's attention is off while our forward passes run, and as before after them."""
    base, seen = tiny("tiny_tinyllama"), []
    forward = base.model.model.forward

    def watched(*args: Any, **options: Any) -> Any:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return forward(*args, **options)

    monkeypatch.setattr(base.model.model, "forward", watched)
    monkeypatch.setattr("olora_bench.models.losses.is_general", lambda model: family == "general" or is_general(model))
    row, tokens = pack(rows()), torch.arange(3, 9)
    with PackedRows(base.model):
        if family == "packed":
            base.model.base_model(input_ids=row.input_ids, position_ids=row.positions, layout=row.layout)
        if family == "general":
            base.model.base_model(input_ids=row.input_ids)
    if family == "tries":
        last_hidden(base.model, tokens, torch.arange(6), layout_of(base.model, [6], np.arange(6), np.full(6, 6), ()))
    if family == "prefix":
        run_prefix(base.model, tokens)
    assert seen == [False]
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_gpus_steps_are_a_processors() -> None:
    """Norm, scaled product and scaled sum; of what a product is to be like, the values do not count."""
    torch.manual_seed(0)
    x, weight, left, right = torch.randn(5, 8), torch.randn(8), torch.randn(4, 5), torch.randn(5, 3)
    for mine, other in zip(fused_gpu.STEPS.norm(x, weight, 1e-5), compiled.norm(x, weight, 1e-5), strict=True):
        torch.testing.assert_close(mine, other)
    like = torch.full((4, 3), torch.nan)
    torch.testing.assert_close(fused_gpu.STEPS.product(left, right, 0.3, like), compiled.product(left, right, 0.3, like))
    out, delta = torch.randn(4, 3).bfloat16(), torch.randn(4, 3)
    want = compiled.added(out, delta, 0.3)
    assert torch.equal(fused_gpu.STEPS.added(out, delta, 0.3), want)


def test_a_gpus_way_with_checkpointing_is_the_same(tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attention, rotations and MLP run once more in the backward pass."""
    gpu_twins.use(monkeypatch)
    model = adapted(tiny("tiny_tinyllama").model)
    parameters, row, found = [p for p in model.parameters() if p.requires_grad], pack(rows()), []
    for checkpointing in (False, True):
        with PackedRows(model, checkpointing=checkpointing):
            nll = token_nll(model, row, LmHead.of(model))
            found.append(torch.autograd.grad(nll.sum(), parameters))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other)
