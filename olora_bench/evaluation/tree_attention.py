"""Last hidden states of token tries: one forward pass with a tree mask and depths as positions, a shared beginning run once."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

# Families whose position comes from position_ids alone and whose log-likelihoods are the LM head on the last hidden state
# (no soft cap, no logit scale): seen equal to lm-eval's on each of these architectures in tests.
FAMILIES = ("llama", "mistral", "gemma", "opt")


def causal_model(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model, its adapters in place; another model as it is."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def why_not(model: nn.Module) -> str | None:
    """Why a model cannot be scored exactly by tries; None where it can."""
    causal = causal_model(model)
    family = causal.config.model_type
    if family not in FAMILIES:
        return f"model type {family} is none of those checked ({', '.join(FAMILIES)})"
    if type(causal.get_output_embeddings()) is not nn.Linear:
        return f"its LM head is a {type(causal.get_output_embeddings()).__name__} and no plain torch.nn.Linear"
    if causal.config._attn_implementation != "sdpa":
        return f"its attention is {causal.config._attn_implementation}, tree masks need sdpa"
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return "its adapter puts virtual tokens in front of the prompt"
    return None


class _PrefixLayer(DynamicLayer):
    """Keys and values of the shared beginning, put in front of every row's own and never stored with them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows = key_states.shape[0]
        keys = torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
        return keys, torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2)


def run_prefix(causal: Any, tokens: Tensor) -> Cache:
    """Keys and values of the tokens [p] that many rows begin with."""
    # Without the config, no layer drops what a sliding window has passed: the mask decides who sees what.
    cache = DynamicCache()
    with torch.no_grad():
        causal.base_model(input_ids=tokens[None], past_key_values=cache, use_cache=True)
    return Cache(layers=[_PrefixLayer(layer.keys, layer.values) for layer in cache.layers])


def last_hidden(causal: Any, ids: Tensor, depths: Tensor, ends: Tensor, prefix: Cache | None, *, chains: bool) -> Tensor:
    """The hidden states that the LM head sees.

    Args:
        ids: int64 [n, t], padded on the right.
        depths: int64 [n, t], within the row.
        ends: int64 [n, t], the column after each token's subtree; its own column + 1 at padding, so that padding sees itself alone.
        chains: no row has a branch. Without a prefix the model's own causal attention is then the same, and faster.

    Returns:
        [n, t, h] in the model's dtype.
    """
    with torch.no_grad():
        if chains and prefix is None:
            return causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
        length = 0 if prefix is None else prefix.get_seq_length()
        window = getattr(causal.config, "sliding_window", None)
        return causal.base_model(
            input_ids=ids,
            position_ids=depths + length,
            attention_mask=_mask(depths, ends, length, window),
            past_key_values=prefix,
            use_cache=False,
        ).last_hidden_state


def _mask(depths: Tensor, ends: Tensor, prefix: int, window: int | None) -> Tensor:
    """Who sees whom: bool [n, 1, t, prefix + t]."""
    n, t = depths.shape
    column = torch.arange(t, device=depths.device)
    seen = (column[None, :, None] >= column[None, None, :]) & (column[None, :, None] < ends[:, None, :])
    if prefix:
        seen = torch.cat([seen.new_ones(n, t, prefix), seen], dim=2)
    if window is not None:
        at = depths + prefix
        keys = torch.cat([torch.arange(prefix, device=depths.device).expand(n, -1), at], dim=1)
        seen &= at[:, :, None] - keys[:, None, :] < window
    return seen[:, None]
