"""NoRA: LoRA with Nyström initialisation (Li, Zhang, Mokhtari, He, arXiv 2410.18965): B = W Omega, A = 0, the base untouched.

The paper starts the factors X Y^T of a matrix M at X = M Omega with a Gaussian Omega, Y = 0, for which scaled gradient descent
converges quadratically, and carries that over to LoRA with W in M's place.
Not confirmed, for want of the text at hand: the scale of Omega for LoRA (here entries of variance 1/(in_features), so that B's columns
have about the length of W's rows' spread; `init.options.omega_scale` multiplies it), that it is B and not A which holds the sketch, and
that the paper's figures were made with AdamW, as all runs here are, and not with ScaledGD's preconditioning.
"""

from __future__ import annotations

import math

import torch
from peft import PeftModel
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.errors import BadInput
from olora_bench.inits._layers import fill
from olora_bench.models import Base

OPTIONS = ("omega_scale",)
PROMISES = ("starts_as_base", "keeps_base")


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """Omega is drawn layer by layer from torch's generator, which the caller has set from `seed`.

    Raises:
        BadInput: `omega_scale` is no positive number.
    """
    scale = experiment.init.options.get("omega_scale", 1.0)
    if not isinstance(scale, int | float) or not scale > 0:
        raise BadInput(f"init.options.omega_scale={scale!r} of init=nora: allowed is a number above 0")

    def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        in_features = weight.shape[1]
        omega = torch.randn(in_features, rank).to(weight) * (scale / math.sqrt(in_features))
        return weight @ omega, torch.zeros(rank, in_features).to(weight)

    return fill(base, experiment, factors, subtract=False)
