"""A GPU's way on a processor: its branches are taken, and its kernels replaced by their formulas, or its tensors by shapes without values.

Shapes stand on the device `meta` and not `cuda`: a torch built for processors can neither index a CUDA tensor nor make its gradient.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import masking_utils

from olora_bench.models import compiled, fused_gpu, kernels


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """`kernels.wide_product`: the rounded operands in fp32."""
    return left.to(right.dtype).float() @ right.float()


def rows_attention(query: Tensor, key: Tensor, value: Tensor, rows: kernels.Rows, scale: float, window: int | None) -> Tensor:
    """`kernels.rows_attention` by the definition of attention: softmax over the tokens that may be seen, in fp32."""
    places = torch.arange(len(query))
    example = torch.bucketize(places, rows.offsets[1:].long(), right=True)
    back = places[:, None] - places[None]
    seen = (example[:, None] == example[None]) & (back >= 0) & (back < (window or math.inf))
    shared = len(query[0]) // len(key[0])
    k, v = (side.float().repeat_interleave(shared, 1) for side in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query.float(), k) * scale
    weights = torch.softmax(scores.masked_fill(~seen, -math.inf), -1)
    return torch.einsum("hqk,khd->qhd", weights, v).to(query.dtype)


def use(monkeypatch: pytest.MonkeyPatch, *, flash: bool = True) -> None:
    """Take a GPU's way from here on; without `flash` that of tensors which its flash attention does not take."""
    monkeypatch.setattr(kernels, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(kernels, "takes_rows", lambda *_: flash)
    monkeypatch.setattr(kernels, "wide_product", wide_product)
    monkeypatch.setattr(kernels, "rows_attention", rows_attention)
    monkeypatch.setattr(fused_gpu, "STEPS", replace(fused_gpu.STEPS, norm_back=compiled.norm_back))  # which no processor has


DEVICE = torch.device("meta")
"""Stands for a GPU where there are shapes alone."""


class Operations(TorchDispatchMode):
    """Counts what is dispatched inside: `counts` of operations that are no views, by name.

    Raises:
        AssertionError: values are copied back to the processor, for which a GPU is waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        back = isinstance(found, Tensor) and found.device.type == "cpu"
        assert not (back and args and isinstance(args[0], Tensor) and args[0].device.type != "cpu"), f"{func} waits for the GPU"
        if not func.is_view and func.namespace != "prim":  # which asks a tensor what it is
            self.counts[str(func)] += 1
        return found


@contextlib.contextmanager
def shapes(monkeypatch: pytest.MonkeyPatch, *models: nn.Module) -> Iterator[Operations]:
    """Inside, the models are on `DEVICE`, tensors are shapes, and what would wait for a GPU or mixes devices raises. Models are of no use
    afterwards."""
    whole = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, **more: contextlib.nullcontext() if kind == "meta" else whole(kind, **more))
    monkeypatch.setattr(kernels, "takes_rows", lambda *_: True)
    monkeypatch.setattr(kernels, "sent", lambda tensor, device: _like(tensor))
    # Of shapes transformers asks nothing about their values, as it does of a GPU's tensors: which masks it can leave out, for one.
    monkeypatch.setattr(masking_utils, "is_tracing", lambda *_: False)
    monkeypatch.setattr(masking_utils, "_ignore_causal_mask_sdpa", _asked)
    monkeypatch.setattr(fused_gpu, "STEPS", replace(fused_gpu.STEPS, norm=_norm))  # which torch would take to pieces
    # A row's columns, of which only sizes count here.
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
    with FakeTensorMode(allow_non_fake_inputs=True), Operations() as seen:
        for model in models:
            _emptied(model)
        seen.counts.clear()
        yield seen


def _norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`kernels.norm` as shapes."""
    return torch.empty_like(x), x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)


def _asked(*_: Any, **__: Any) -> bool:
    raise AssertionError("transformers asks what a mask holds, for which a GPU is waited for")


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)


def _emptied(model: nn.Module) -> None:
    made: dict[int, nn.Parameter] = {}  # tied parameters stay one
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                made.setdefault(id(parameter), nn.Parameter(_like(parameter), requires_grad=parameter.requires_grad))
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)
