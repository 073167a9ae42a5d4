"""What an init cannot do, told from the config alone: before anything is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from olora_bench.config.schema import Experiment, Init

Export = Literal["adapter", "lora", "merged"]
Promise = Literal["starts_as_base", "keeps_base"]
"""What an init may promise of step 0: the model computes what the base does; the base's weights are untouched."""

PEFT_NAMES = ("gaussian", "olora", "pissa", "pissa_niter_N", "orthogonal", "mica", "loftq")
_NEEDS_DATA = {
    "eva": "PEFT needs training examples for it, which init=eva passes: use init=eva",
    "corda": "PEFT needs the covariance of each layer's inputs for it (preprocess_corda), which is not passed here",
    "lora_ga": "PEFT needs the gradient of each base weight for it (preprocess_loraga), which is not passed here",
}
# PEFT reads the weight of these inits as it is stored, which in a quantised base is no matrix of numbers.
_NOT_QUANTISED = ("pissa", "orthogonal", "mica", "loftq")
# These come from the experiment, so that every init is compared at the same ones.
_FROM_EXPERIMENT = {
    "r": "rank", "lora_alpha": "alpha", "target_modules": "model.target_modules", "lora_dropout": "recipe.dropout",
    "use_rslora": "init.rslora", "use_dora": "init.dora", "rank_pattern": "rank", "alpha_pattern": "alpha",
}  # fmt: skip


def peft_init(experiment: Experiment) -> Any:
    """The `init_lora_weights` of an experiment whose init comes from PEFT."""
    return peft_name(experiment.init)


def peft_name(init: Init) -> Any:
    """As `peft_init`, of the init alone."""
    return init.options.get("init_lora_weights", True if init.name == "peft" else init.name)


def check_init(experiment: Experiment) -> None:
    """Refuse what is known to be impossible.

    Raises:
        ValueError: says what, why and what is allowed.
    """
    foreign = [key for key in experiment.init.options if key.startswith("megatron")]
    if foreign:  # a module's name, which PEFT would import
        raise ValueError(f"init.options sets {', '.join(foreign)}, with which PEFT imports a module by name: leave it out")
    if experiment.init.module == "peft":
        _check_peft(experiment, peft_init(experiment))
    for to in experiment.exportable:
        reason = refusal(experiment, to)
        if reason is not None:
            raise ValueError(f"exportable names {to}: {reason}")


def _check_peft(experiment: Experiment, name: Any) -> None:
    init, quantised = experiment.init, experiment.model.quantization
    taken = {key: _FROM_EXPERIMENT[key] for key in init.options if key in _FROM_EXPERIMENT}
    if taken:
        raise ValueError(f"init.options sets {', '.join(taken)}: use {', '.join(dict.fromkeys(taken.values()))}, the same for every layer")
    if isinstance(name, bool):
        return
    said = f"init={init.name} asks PEFT for init_lora_weights={name}"
    if name in _NEEDS_DATA:
        raise ValueError(f"{said}: {_NEEDS_DATA[name]}")
    if name not in PEFT_NAMES and not re.fullmatch(r"pissa_niter_[1-9]\d*", str(name)):
        raise ValueError(f"{said}, which it does not have. Allowed: {', '.join(PEFT_NAMES)}. Set init.name to one of them")
    if name == "loftq" and not init.options.get("loftq_config"):
        raise ValueError(f"{said}: PEFT needs a loftq_config for it. Give +init.options.loftq_config={{loftq_bits: 4}}")
    if name == "orthogonal" and experiment.rank % 2:
        raise ValueError(f"{said}, which exists for even ranks only, and rank={experiment.rank}. Give an even rank")
    if quantised is not None and str(name).startswith(_NOT_QUANTISED):
        raise ValueError(f"{said}, which it cannot do on a quantised base (model.quantization={quantised}). Use null, or another init")


def refusal(experiment: Experiment, to: Export) -> str | None:
    """Why a run of this experiment can never be exported as `to`, as far as its config tells; None where nothing speaks against it."""
    init = experiment.init
    name = str(peft_name(init)) if init.module == "peft" else ""
    if to == "lora" and init.dora:
        return "DoRA scales whole rows of the weight, which no low-rank difference can. Allowed: --to merged, --to adapter"
    if to == "lora" and name == "loftq":
        return "LoftQ rounds the base in a way that no low-rank difference can undo. Allowed: --to merged"
    if to == "adapter" and name.startswith(("pissa_niter", "loftq")):
        return f"PEFT would not make the same base again when it loads an adapter of {name}. {_instead(name)}"
    return None


def _instead(name: str) -> str:
    return "Allowed: --to merged" if name == "loftq" else "Allowed: --to lora, --to merged"
