"""One linear layer's weight, dense or quantised by bitsandbytes: read as fp32, written back in the form it is kept in; and seeded draws."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from olora_bench.errors import BadInput


def bitsandbytes() -> Any:
    """The package, imported at first use.

    Raises:
        BadInput: it is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput("model.quantization needs the package bitsandbytes: pip install 'olora-bench[quant]' brings it")
    import bitsandbytes as package

    return package


def is_quantised(weight: Tensor) -> bool:
    """Whether a parameter is one of bitsandbytes' 4- or 8-bit ones."""
    return type(weight).__name__ in ("Params4bit", "Int8Params")


def read_weight(module: Any) -> Tensor:
    """The weight [out, in] of a linear layer in fp32: the parameter's own memory where it is fp32, else a copy."""
    weight = _dequantised(module) if is_quantised(module.weight) else module.weight.detach()
    return weight.float()


def write_weight(module: Any, weight: Tensor) -> None:
    """Keep `weight` [out, in] in the form that the layer keeps its own: cast, or quantised anew with the same settings."""
    replace(module, "weight", weight)


def replace(module: Any, kind: str, tensor: Tensor) -> None:
    """Put the values of `tensor` into the module's parameter `kind`, cast or quantised as it is."""
    old = getattr(module, kind)
    if not is_quantised(old):
        if old.data.data_ptr() != tensor.data_ptr():  # otherwise it was changed in place
            old.data.copy_(tensor)
        return
    new = quantised_like(old, tensor)
    if type(new).__name__ == "Params4bit":
        new.module, module.quant_state = module, new.quant_state
    else:
        module.state.CB = module.state.SCB = None  # the old weight's, kept since the last forward pass
    setattr(module, kind, new)


def quantised_like(old: Any, tensor: Tensor) -> Any:
    """`tensor` [out, in] quantised as the bitsandbytes parameter `old` is."""
    made = type(old)
    if made.__name__ == "Params4bit":
        return made(
            tensor, requires_grad=False, blocksize=old.blocksize, compress_statistics=old.compress_statistics,
            quant_type=old.quant_type, quant_storage=old.quant_storage,
        ).to(old.device)  # fmt: skip
    # Int8Params quantises on the way from the CPU to a device, the CPU included.
    return made(tensor.cpu(), requires_grad=False, has_fp16_weights=old.has_fp16_weights).to(old.device)


def stored(module: Any, parameter: Any) -> list[Tensor]:
    """Everything that decides a parameter's values: its bits, and where it is quantised their scales."""
    if not is_quantised(parameter):
        return [parameter.data]
    if type(parameter).__name__ == "Int8Params":
        return [parameter.data, _scales(module, parameter)]
    state = parameter.quant_state
    return [parameter.data, state.absmax, *([state.offset.reshape(1), state.state2.absmax] if state.nested else [])]


def _scales(module: Any, parameter: Any) -> Tensor:
    """The row scales of an 8-bit weight, which bitsandbytes moves into the module at the first forward pass."""
    scales: Tensor = parameter.SCB if parameter.SCB is not None else module.state.SCB
    return scales


def _dequantised(module: Any) -> Tensor:
    functional, weight = bitsandbytes().functional, module.weight
    if type(weight).__name__ == "Params4bit":
        dense: Tensor = functional.dequantize_4bit(weight.data, weight.quant_state)
    else:
        dense = functional.int8_vectorwise_dequant(weight.data, _scales(module, weight))
    return dense


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch draws (on the CPU and on `device`) come from `seed`; outside nothing has moved."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
