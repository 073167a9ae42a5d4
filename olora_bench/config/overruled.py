"""What a command line says by two keys, one of which takes the place of the other. Of one key given twice the last counts, as in Hydra."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from olora_bench.config.lines import value_line
from olora_bench.errors import BadInput

_SAME = {
    "data.hub": ("data.path", "which rows to train on"),
    "data.local": ("data.path", "which rows to train on"),
    "recipe.epochs": ("recipe.steps", "how long to train"),
    "recipe.warmup_ratio": ("recipe.warmup_steps", "how long to warm up"),
    "model.hub": ("model.generated", "where the model is from"),
    "model.local": ("model.generated", "where the model is from"),
    "model.packaged": ("model.generated", "where the model is from"),
}
"""Key -> the one that takes its place where it has a value, and what both say."""


def check_overruled(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse an override line that would do nothing, since another key takes the place of its own. What a preset says is no such line.

    Raises:
        BadInput: names both keys, their values, and how to keep either.
    """
    for key, (other, what) in _SAME.items():
        for line in _that_give(key, overrides):
            if (value := OmegaConf.select(cfg, other)) is not None:
                shown = other if OmegaConf.is_config(value) else value_line(other, value)
                raise BadInput(f"{line} and {shown} both say {what}. Leave the first out, or give {other}=null")
    _check_rate(cfg, overrides)


def _check_rate(cfg: DictConfig, overrides: Sequence[str]) -> None:
    rates = OmegaConf.select(cfg, "finalists")
    for line in _that_give("lr", overrides) if OmegaConf.is_list(rates) else ():
        if not any(isinstance(rate, int | float) and math.isclose(rate, OmegaConf.select(cfg, "lr")) for rate in rates):
            told = value_line("finalists", list(rates))
            raise BadInput(f"{line} is none of {told}, which are trained in its place. Leave it out, or name it among them")


def _that_give(key: str, overrides: Sequence[str]) -> Iterator[str]:
    """The lines that give a key, or one below it, a value."""
    for line in overrides:
        name, _, value = line.partition("=")
        if f"{name.lstrip('+').strip()}.".startswith(f"{key}.") and value.strip() not in ("null", ""):
            yield line
