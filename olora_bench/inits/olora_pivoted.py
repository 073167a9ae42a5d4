"""OLoRA from a rank-revealing QR: a control.

Hypothesis tested: OLoRA's gain comes from moving *energy* of W into the adapter. Column pivoting takes at each step the column with
the most left over, so B A holds more of W than with the first r columns. If this arm beats OLoRA, energy matters; if it does worse
or the same, orthonormality or the step size is the better explanation.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.inits._layers import fill
from olora_bench.inits._qr import orthonormal, projected
from olora_bench.models import Base


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """B = Q of the r pivot columns, A = B^T W. Nothing is drawn: every seed starts alike."""
    return fill(base, experiment, factors, subtract=True)


def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B [out, r] and A [r, in] of a weight [out, in] in fp32."""
    return projected(orthonormal(name, weight[:, pivots(weight, rank)]), weight)


def pivots(weight: Tensor, rank: int) -> list[int]:
    """The columns that pivoted QR (LAPACK's geqp3) takes first, by r steps of it."""
    left = weight.square().sum(0)  # what of each column's square the chosen ones do not explain yet
    basis = weight.new_empty(weight.shape[0], 0)
    chosen: list[int] = []
    for _ in range(rank):
        column = int(left.argmax())
        chosen.append(column)
        direction = weight[:, column]
        for _ in range(2):  # once more takes out what rounding left of the first time
            direction = direction - basis @ (basis.T @ direction)
        direction = direction / direction.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        left = (left - (direction @ weight).square()).clamp_min(0)
        left[chosen] = -1
        basis = torch.cat([basis, direction[:, None]], dim=1)
    return chosen
