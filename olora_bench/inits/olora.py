"""OLoRA (Büyükakyüz, arXiv 2406.01775): B and A start from a QR of the weight, and s B A is taken out of the weight.

For W = Q R (unpivoted), B = Q[:, :r], A = R[:r], W <- W - s B A. Unpivoted QR is column-sequential: Q[:, :r] is the Q of W[:, :r]
alone, and A = B^T W. So a QR of r columns and two products give what PEFT's `init_lora_weights="olora"` gets from a QR of all
columns: the same product and residual, the same factors up to signs. fp32 throughout, whatever the base's dtype or quantisation.
"""

from __future__ import annotations

from peft import PeftModel
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.inits._layers import fill
from olora_bench.inits._qr import orthonormal, projected
from olora_bench.models import Base


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """OLoRA on every target module. Nothing is drawn: every seed starts alike."""
    return fill(base, experiment, factors, subtract=True, peft_name="olora")


def factors(name: str, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """B [out, r] and A [r, in] of a weight [out, in] in fp32."""
    return projected(orthonormal(name, weight[:, :rank]), weight)
