"""OLoRA as the formula on the paper's page reads, W + Q_r R_r, with nothing subtracted: a control.

Hypothesis tested: the paper's results need the subtraction that its formula leaves out (and PEFT's code has). Here the model does
*not* start as the pretrained one: each layer starts with s B A added, so the loss at step 0 says how far the literal reading is off.
"""

from __future__ import annotations

from peft import PeftModel

from olora_bench.config import Experiment
from olora_bench.inits._layers import fill
from olora_bench.inits.olora import factors
from olora_bench.models import Base

PROMISES = ("keeps_base",)


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """OLoRA's A and B on the untouched base."""
    return fill(base, experiment, factors, subtract=False)
