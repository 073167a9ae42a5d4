"""What is done otherwise on a GPU than on a processor, and the kernels that only GPUs have: each with its formula, so that tests can run
the whole of a GPU's way on a processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPAParams

_ALIGNED = 16
"""Bytes at whose multiples tensors that are sent together begin: what the widest load of a kernel takes."""


_ROWS = 64
"""Rows at whose multiples a processor's products run best: oneDNN takes bf16's in tiles."""


class Rows(NamedTuple):
    """Examples one after another: `offsets`, int32 [n + 1] on the device, are where each begins, and the end; `longest` in tokens."""

    offsets: Tensor
    longest: int


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor's work is a GPU's."""
    return tensor.device.type != "cpu"


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A processor's tensor on `device`; a copy to a GPU does not wait."""
    if device.type == "cpu":
        return tensor
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def sent_together(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """`sent` of several at once: a GPU's host takes longer for a piece of pinned memory and a copy than for a kernel."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    bounds = [0, *accumulate(-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays)]
    whole = np.empty(bounds[-1], dtype=np.uint8)
    for array, begin in zip(arrays, bounds[:-1], strict=True):
        whole[begin : begin + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    there = sent(torch.from_numpy(whole), device)
    dtypes = [torch.from_numpy(array[:0]).dtype for array in arrays]
    return [
        there[begin : begin + array.nbytes].view(dtype).view(array.shape)
        for array, dtype, begin in zip(arrays, dtypes, bounds[:-1], strict=True)
    ]


def filled_up(*columns: Tensor) -> tuple[Tensor, ...]:
    """Columns of a packed row [.., l], on a processor with zeros at the end until l is a multiple of `_ROWS`: products of 4,087 rows take a
    third longer there than of 4,096. Attention leaves alone what is beyond the row's examples."""
    missing = -columns[0].shape[-1] % _ROWS
    if on_gpu(columns[0]) or not missing:
        return columns
    return tuple(torch.nn.functional.pad(column, (0, missing)) for column in columns)


@contextmanager
def any_shape() -> Iterator[None]:
    """Inside, torch's attention leaves cuDNN's alone, which torch 2.11 prefers on Hopper: its plan for a shape that is new takes the host
    tens of milliseconds, and rows of examples, tries and answers that grow are of new shapes all the time."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def wide_product(left: Tensor, right: Tensor) -> Tensor:
    """fp32 [m, n] of left [m, k] and right [k, n] in 16 bits, `left` rounded to `right`'s dtype: on tensor cores, whose products of 16-bit
    numbers are exact and whose sums are fp32."""
    return torch.mm(left.to(right.dtype), right, out_dtype=torch.float32)


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`compiled.norm` in one kernel, the product in fp32 too."""
    found: tuple[Tensor, Tensor] = torch.ops.aten._fused_rms_norm(x, weight.shape, weight, eps)
    return found


def norm_back(grad: Tensor, x: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """`compiled.norm_back` in one kernel."""
    d_x: Tensor = torch.ops.aten._fused_rms_norm_backward(grad, x, weight.shape, scale, weight, [True, False])[0]
    return d_x


def takes_rows(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the GPU's flash attention takes these, [1, heads or fewer, l, d]: it depends on dtype, head size and architecture."""
    if query.shape[-1] % 8:  # which torch's own attention pads, and the kernel does not take
        return False
    return torch.backends.cuda.can_use_flash_attention(SDPAParams(query, key, value, None, 0.0, True, True))


def rows_attention(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float, window: int | None) -> Tensor:
    """Causal attention inside each example, by one call of flash attention (Dao, arXiv 2307.08691) whatever the lengths.

    Args:
        query: [l, heads, d]; key and value: [l, heads or fewer, d], each shared by as many queries' heads.
        window: the longest look back in tokens, the token itself counted; None looks to the beginning.

    Returns:
        [l, heads, d], differentiable.
    """
    # The operator and not `varlen_attn`, which is built on it: that one's arguments differ from torch 2.11 to 2.13.
    found = torch.ops.aten._flash_attention_forward(
        query, key, value, rows.offsets, rows.offsets, rows.longest, rows.longest, 0.0, True, False,
        scale=scale, window_size_left=None if window is None else window - 1, window_size_right=None if window is None else 0,
    )  # fmt: skip
    out: Tensor = found[0]
    return out
