"""Orthonormal bases of a few columns, and what they take out of a weight."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

# A column that lies in the span of those before it up to this share of its length is decided by fp32's rounding alone.
_DEPENDENT = 1e-6


def orthonormal(name: str, columns: Tensor) -> Tensor:
    """Q [out, r] with orthonormal columns that span `columns` [out, r], as unpivoted QR has them, signs aside.

    Where columns depend on each other up to fp32's rounding, the rest of Q is arbitrary (and still orthonormal): a warning names the layer.
    """
    q, r = torch.linalg.qr(columns)
    dependent = r.diagonal().abs() <= _DEPENDENT * r.norm(dim=0)  # R's columns are as long as the weight's
    if dependent.any():
        warnings.warn(
            f"{name}: column {int(dependent.nonzero()[0])} of the first {columns.shape[1]} depends on those before it, "
            "so rounding decides the orthonormal basis from there on. The layer still starts as it was",
            stacklevel=2,
        )
    return q


def projected(q: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """B = Q and A = Q^T W: their product is the projection of W [out, in] on the columns of Q [out, r]."""
    return q, q.T @ weight
