"""Products in fp32 of operands that came from a lower precision, on the units that are fast at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Inside, CPU products of fp32 matrices may run on bf16 units with fp32 accumulation, if `dtype` is bf16.

    A product of two bf16 numbers is exact in fp32, so for operands that were bf16 before (and are fp32 now to get an fp32 result) nothing
    is lost but the order of summation. Where the CPU has no such units, nothing changes.
    """
    if dtype is not torch.bfloat16:
        yield
        return
    flags: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = flags.fp32_precision
    flags.fp32_precision = "bf16"
    try:
        yield
    finally:
        flags.fp32_precision = before
