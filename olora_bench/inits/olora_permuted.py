"""OLoRA from r columns drawn at random instead of the first r: a control.

Hypothesis tested: it matters *which* input columns span OLoRA's subspace. Q_r R_r is the projection of W on the span of its first r
columns, an accident of how neurons are numbered. If this arm does as well, OLoRA's choice of columns explains nothing.
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
    """The QR of W with its columns permuted, put back in order: B = Q of r random columns, A = B^T W."""
    return fill(base, experiment, factors, subtract=True)


def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B [out, r] and A [r, in]; the permutation comes from torch's generator."""
    columns = torch.randperm(weight.shape[1])[:rank].to(weight.device)
    return projected(orthonormal(name, weight[:, columns]), weight)
