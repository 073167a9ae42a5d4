"""A GPU's way on a processor: its branches are taken, and its kernels replaced by their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from olora_bench.models import kernels


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
