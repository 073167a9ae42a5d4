"""EVA (Paischer et al., arXiv 2410.07170), through PEFT: A starts from the leading directions of what each layer sees in training.

A's rows are the right singular vectors of the layer's inputs at the supervised tokens of the train part, found by PEFT's incremental
SVD over batches in an order drawn from the seed; B is zero and the base untouched. `rho` is 1 by default: every layer keeps the rank
of the experiment, so that arms train equally many numbers (PEFT's own default of 2 moves ranks between layers).
"""

from __future__ import annotations

from typing import Any

import torch
from peft import EvaConfig, PeftModel, initialize_lora_eva_weights
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.data import Example, collate
from olora_bench.errors import BadInput
from olora_bench.inits._layers import wrap
from olora_bench.models import Base, padding_id

OPTIONS = "peft.tuners.lora.config:EvaConfig"
PROMISES = ("starts_as_base", "keeps_base")

Inputs = dict[str, Tensor]


def adapt(base: Base, experiment: Experiment, seed: int, examples: list[Example]) -> PeftModel:
    """LoRA with A from the data. `init.options` are EvaConfig's.

    Raises:
        BadInput: an unknown option, or fewer supervised tokens than the rank.
    """
    options = {"rho": 1.0} | experiment.init.options
    try:
        config = EvaConfig(**options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"init.options={experiment.init.options} of init=eva is refused by PEFT's EvaConfig: {error}") from error
    batches = _batches(examples, experiment, padding_id(base.tokenizer))
    model = wrap(base, experiment, init_lora_weights="eva", eva_config=config)
    initialize_lora_eva_weights(model, batches, forward_fn=_forward, show_progress_bar=False)
    return model


def _batches(examples: list[Example], experiment: Experiment, pad_id: int) -> list[Inputs]:
    """In an order drawn from torch's generator; the recipe's batch size, or more where `rank` supervised tokens need it."""
    batches: list[list[Example]] = [[]]
    for index in torch.randperm(len(examples)).tolist():
        if len(batches[-1]) >= experiment.recipe.batch_size and _supervised(batches[-1]) >= experiment.rank:
            batches.append([])
        batches[-1].append(examples[index])
    enough = [batch for batch in batches if _supervised(batch) >= experiment.rank]
    if not enough:
        raise BadInput(
            f"init=eva looks at the train part's supervised tokens and needs at least rank={experiment.rank}; "
            f"there are {_supervised(examples)}. Lower rank or raise data.train_size"
        )
    return [_inputs(batch, pad_id) for batch in enough]


def _supervised(examples: list[Example]) -> int:
    return sum(int(example.supervised.sum()) for example in examples)


def _inputs(examples: list[Example], pad_id: int) -> Inputs:
    batch = collate(examples, pad_id)
    labels = batch.input_ids.masked_fill(~batch.supervised, -100)  # by which PEFT knows the tokens to look at
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": labels}


def _forward(model: Any, inputs: Inputs) -> None:
    """Hidden states alone: nothing reads the logits."""
    model.get_base_model().base_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
