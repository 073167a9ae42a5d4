"""Every init that PEFT has by name: the options go to its LoraConfig as they are."""

from __future__ import annotations

import warnings

from peft import LoraConfig, PeftModel, get_peft_model

from olora_bench.config import Experiment
from olora_bench.errors import BadInput
from olora_bench.models import Base

# These come from the experiment, so that every init is compared at the same ones.
_FROM_EXPERIMENT = ("r", "lora_alpha", "target_modules", "lora_dropout", "task_type")


def adapt(base: Base, experiment: Experiment, seed: int) -> PeftModel:
    """Wrap the target modules of `base.model` in place; A and B are fp32 whatever the base's dtype.

    The draws of a random init come from torch's generator, which the caller has set from `seed`.

    Raises:
        BadInput: an option that LoraConfig does not know, or one that the experiment sets elsewhere.
    """
    options = experiment.init.options
    taken = [key for key in options if key in _FROM_EXPERIMENT]
    if taken:
        raise BadInput(f"init.options sets {', '.join(taken)}: use the keys rank, alpha, model.target_modules and recipe.dropout for these")
    try:
        config = LoraConfig(
            r=experiment.rank,
            lora_alpha=experiment.alpha,
            target_modules=list(experiment.model.target_modules),
            lora_dropout=experiment.recipe.dropout,
            task_type="CAUSAL_LM",
            **options,
        )
    except (TypeError, ValueError) as error:
        raise BadInput(f"init.options={options} of init={experiment.init.name} is refused by PEFT's LoraConfig: {error}") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT's own use of an old name of transformers
        return get_peft_model(base.model, config)
