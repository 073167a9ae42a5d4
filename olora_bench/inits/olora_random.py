"""OLoRA with a random orthonormal B: a control.

Hypothesis tested: B's *directions* matter, beyond their being orthonormal. B is orthonormal but knows nothing of W, and A = B^T W is
what of W lies along it. If this arm does as well as OLoRA, orthonormality (and the norm of A) is all there is to OLoRA.
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
    """B = Q of a Gaussian matrix, A = B^T W, and s B A is taken out of W."""
    return fill(base, experiment, factors, subtract=True)


def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B [out, r] and A [r, in]; the Gaussian matrix comes from torch's generator."""
    return projected(orthonormal(name, torch.randn(weight.shape[0], rank).to(weight)), weight)
