"""The transformers model inside, and the attention that it runs for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from torch import nn

from olora_bench.models.kernels import any_shape


def causal_model(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model, its adapters in place; another model as it is."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


@contextmanager
def attending_as(model: nn.Module, name: str) -> Iterator[None]:
    """Inside, `model` runs the attention that transformers knows by `name`; afterwards its own again."""
    config = causal_model(model).config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        with any_shape():
            yield
    finally:
        config._attn_implementation = before
