"""What the inits share: PEFT's wrapper around the target modules, and filling A, B and the base weight layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.errors import BadInput
from olora_bench.models import Base, read_weight, write_weight

Factors = Callable[[str, Tensor, int], tuple[Tensor, Tensor]]
"""(layer name, weight [out, in] fp32, which must not be written to, rank) -> B [out, r], A [r, in]."""


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without what PEFT warns of where nothing is wrong."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT's own use of an old name of transformers
        warnings.filterwarnings("ignore", "lora with eva initialization used with low_cpu_mem_usage=False", UserWarning)
        yield


def wrap(base: Base, experiment: Experiment, **options: Any) -> PeftModel:
    """Put PEFT's LoRA layers around the target modules of `base.model`, in place; A and B are fp32 whatever the base's dtype.

    Raises:
        BadInput: LoraConfig refuses the options.
    """
    try:
        config = LoraConfig(
            r=experiment.rank,
            lora_alpha=experiment.alpha,
            target_modules=list(experiment.model.target_modules),
            lora_dropout=experiment.recipe.dropout,
            use_rslora=experiment.init.rslora,
            use_dora=experiment.init.dora,
            task_type="CAUSAL_LM",
            **options,
        )
        with quiet_peft():
            return get_peft_model(base.model, config)
    except (TypeError, ValueError) as error:
        raise BadInput(f"init={experiment.init.name} with init.options={options} is refused by PEFT: {error}") from error


def layers(model: torch.nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """The adapter layers in order, with their names in the bare model."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name.removeprefix("base_model.model."), module


@torch.no_grad()
def fill(base: Base, experiment: Experiment, factors: Factors, *, subtract: bool, peft_name: bool | str = True) -> PeftModel:
    """An adapter whose A and B are `factors` of each layer's weight.

    With `subtract`, s B A is taken out of the base weight, so that the adapted layer starts as the layer was. Beside A and B this
    takes at most one fp32 copy of one layer, none on an fp32 base.

    Args:
        peft_name: the `init_lora_weights` by which PEFT makes the same base weights again when it loads the saved adapter;
            True where the base is untouched.
    """
    model = wrap(base, experiment, init_lora_weights=True)
    for name, layer in layers(model):
        start_layer(name, layer, factors, subtract=subtract)
        if experiment.init.dora:  # the magnitudes were taken before A and B were filled
            layer.lora_variant["default"].init(layer, adapter_name="default", config=model.peft_config["default"])
    model.peft_config["default"].init_lora_weights = peft_name
    return model


def start_layer(name: str, layer: LoraLayer, factors: Factors, *, subtract: bool) -> None:
    """Fill A and B of one adapter layer, and with `subtract` take s B A out of its base weight."""
    module = layer.get_base_layer()
    weight = read_weight(module)
    b, a = factors(name, weight, layer.r["default"])
    check_shapes(name, layer, b, a)
    b, a = (_apart(side, weight) for side in (b, a))
    layer.lora_B["default"].weight.data = b.contiguous()
    layer.lora_A["default"].weight.data = a.contiguous()
    if subtract:
        weight.addmm_(b, a, alpha=-layer.scaling["default"])
        write_weight(module, weight)


def _apart(side: Tensor, weight: Tensor) -> Tensor:
    """A factor, copied where it is a view of the weight: taking s B A out of the weight would change it."""
    return side.clone() if side.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() else side


def check_shapes(name: str, layer: LoraLayer, b: object, a: object) -> None:
    """Refuse factors that are none of the layer: some shapes of square layers would be taken and train another model.

    Raises:
        BadInput: names the layer, what its factors are, and what they must be.
    """
    rank, needed = layer.r["default"], (layer.out_features, layer.in_features)
    found = tuple(tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in (b, a))
    if found != ((needed[0], rank), (rank, needed[1])):
        raise BadInput(
            f"{name}: B is {found[0]} and A is {found[1]}. Needed: B (out_features, rank) = {needed[0], rank}, "
            f"A (rank, in_features) = {rank, needed[1]}"
        )
