"""What a layer's forward and backward pass does between matrix products: plain tensor functions, compiled where that pays.

Uncompiled, each operation in them reads and writes memory once more; compiled by torch.compile (which needs a C++ compiler on the CPU and
takes ten seconds a process, less from its cache), a function is one loop. Not the default: what a process compiles depends on the shapes
that it saw first, so a run that goes on in another process would not be the same in its last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """weight * (x / sqrt(mean(x^2) + eps)), the quotient in fp32 and rounded before the product; and 1 / sqrt(...), fp32 [..., 1]."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = torch.rsqrt(norm.square_().div_(x.shape[-1]).add_(eps))
    return torch.mul(x, scale).to(x.dtype).mul_(weight), scale


def norm_back(grad: Tensor, x: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x."""
    quotient = torch.mul(x, scale)  # fp32, as scale is
    inner = torch.mul(grad, weight.float())
    along = torch.linalg.vecdot(inner, quotient).div_(x.shape[-1]).unsqueeze(-1)
    return inner.addcmul_(quotient, along, value=-1).mul_(scale).to(x.dtype)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return F.silu(gate).mul_(up)


def gated_back(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up."""
    return torch.ops.aten.silu_backward(grad * up, gate), F.silu(gate).mul_(grad)


def added(out: Tensor, delta: Tensor, scale: float) -> Tensor:
    """out + scale * delta in delta's dtype, rounded to out's."""
    return torch.add(out, delta, alpha=scale).to(out.dtype)


def product(left: Tensor, right: Tensor, scale: float, like: Tensor) -> Tensor:
    """scale * left @ right, whose shape and dtype are those of `like`."""
    return torch.mm(left, right).mul_(scale)


@dataclass(frozen=True)
class Steps:
    """The functions of this file, as they are, compiled, or in a GPU's own kernels."""

    norm: Callable[..., tuple[Tensor, Tensor]] = norm
    norm_back: Callable[..., Tensor] = norm_back
    gated: Callable[..., Tensor] = gated
    gated_back: Callable[..., tuple[Tensor, Tensor]] = gated_back
    added: Callable[..., Tensor] = added
    product: Callable[..., Tensor] = product


EAGER = Steps()


@cache
def compiled() -> Steps:
    """Each compiled at its first use in this process."""
    between = [field.name for field in fields(Steps) if field.name != "product"]
    return Steps(**{name: torch.compile(getattr(EAGER, name), dynamic=True) for name in between})
