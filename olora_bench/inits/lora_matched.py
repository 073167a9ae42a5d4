"""LoRA whose A has the norm of OLoRA's A: a control.

Hypothesis tested: OLoRA's gain is one of *scale*. Its A = Q^T W is longer or shorter than LoRA's random A, which changes the size of
the first steps as another learning rate would. Here A is LoRA's (Kaiming uniform) stretched to OLoRA's Frobenius norm, layer by layer,
and B is zero. If this arm does as well as OLoRA, directions explain nothing.
"""

from __future__ import annotations

import math

import torch
from peft import PeftModel
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.inits import olora
from olora_bench.inits._layers import fill
from olora_bench.models import Base

PROMISES = ("starts_as_base", "keeps_base")


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """The base is untouched; A is drawn from torch's generator, which the caller has set from `seed`."""
    return fill(base, experiment, factors, subtract=False)


def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B = 0 [out, r], and A [r, in] with the norm of OLoRA's."""
    wanted = olora.factors(name, weight, rank)[1].norm()
    a = torch.nn.init.kaiming_uniform_(torch.empty(rank, weight.shape[1]), a=math.sqrt(5)).to(weight)
    return weight.new_zeros(weight.shape[0], rank), a * (wanted / a.norm())
