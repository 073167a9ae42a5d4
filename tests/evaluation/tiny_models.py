"""Random models of the architectures whose tries are checked."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, OPTConfig, PretrainedConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))

from tiny_rows import gpt_like_tokenizer, llama_like_tokenizer

FAMILIES = ("llama", "mistral", "gemma", "opt", "qwen3", "gemma3_text", "phi3")
_PECULIAR: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 3},
    "qwen3": {"use_sliding_window": True, "sliding_window": 9, "layer_types": ["full_attention", "sliding_attention"]},
    "phi3": {"sliding_window": 11, "partial_rotary_factor": 0.5},
}
"""What these have and the others do not: layers of two kinds, a scale of scores, and half of a head that is not turned."""


@dataclass(frozen=True)
class TinyBase:
    """What `evaluate` needs of a loaded base."""

    model: Any
    tokenizer: Any
    device: torch.device


def _config(family: str, vocab_size: int, **extra: Any) -> PretrainedConfig:
    common: dict[str, Any] = {"vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                              "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 256}  # fmt: skip
    if family == "opt":
        return OPTConfig(**common, ffn_dim=48, word_embed_proj_dim=32, **extra)
    own = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, **_PECULIAR.get(family, {}), **extra}
    return AutoConfig.for_model(family, **common, **own)


def tiny_base(family: str, **extra: Any) -> TinyBase:
    """A random model of a family. Weights are drawn wide, so that the choices' log-likelihoods differ by nats."""
    tokenizer = gpt_like_tokenizer() if family == "llama" else llama_like_tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config(family, len(tokenizer), **extra)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return TinyBase(model, tokenizer, torch.device("cpu"))
