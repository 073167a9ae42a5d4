"""Every init that PEFT has by name: the options go to its LoraConfig as they are.

The name is `init.options.init_lora_weights`, or where that is not given `init.name`: `init=peft init.name=mica`.
Names that PEFT cannot make without data that is not passed here are refused when the config is checked.
"""

from __future__ import annotations

from peft import PeftModel

from olora_bench.config import Experiment
from olora_bench.config.init_rules import peft_init
from olora_bench.inits._layers import wrap
from olora_bench.models import Base

OPTIONS = "peft.tuners.lora.config:LoraConfig"


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """The draws of a random init come from torch's generator, which the caller has set from `seed`.

    Raises:
        BadInput: LoraConfig refuses the options.
    """
    return wrap(base, experiment, **(experiment.init.options | {"init_lora_weights": peft_init(experiment)}))
