"""What the hardware could do: the measured speed of a large matrix product, against which a training's own speed is set."""

from __future__ import annotations

import time
from functools import cache

import torch

from olora_bench.models import Base

_SECONDS = 0.2
_ROWS = 2048


def matmul_flops_per_s(base: Base) -> float:
    """Operations per second of the product of `_ROWS` tokens with the model's widest projection, in its dtype, measured once a process."""
    shape = max(base.config.shapes.values(), key=lambda pair: pair[0] * pair[1])
    return _measured(base.dtype, base.device, shape, torch.get_num_threads())


@cache
def _measured(dtype: torch.dtype, device: torch.device, shape: tuple[int, int], threads: int) -> float:
    generator = torch.Generator(device).manual_seed(0)
    weight, rows = (
        torch.randn(size, generator=generator, device=device, dtype=torch.float32).to(dtype) for size in (shape, (_ROWS, shape[1]))
    )
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * _ROWS * shape[0] * shape[1] / best


def step_flops(base: Base, adapter: int, tokens: int, supervised: int) -> float:
    """Operations of training on `tokens` tokens: 4 a parameter and token for the frozen layers (forward, and back through them), 6 for the
    adapter, 4 for the LM head where it is read. Attention's quadratic part is left out (Kaplan et al., arXiv 2001.08361)."""
    model = base.config
    body = model.layers * sum(out * inside for out, inside in model.shapes.values())
    return tokens * (4.0 * body + 6.0 * adapter) + 4.0 * supervised * model.vocab_size * model.hidden_size
