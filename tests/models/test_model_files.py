"""What the model YAMLs say, against transformers' own classes built from the published configs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from olora_bench.config import Model, conf_dir, options

LLAMA = {"vocab_size": 32000, "hidden_act": "silu", "tie_word_embeddings": False}
# The config.json of each Hub repository, as published.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama2_7b": (
        "llama",
        LLAMA
        | {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32}
        | {"max_position_embeddings": 4096},
    ),
    "mistral_7b": (
        "mistral",
        LLAMA
        | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"max_position_embeddings": 32768, "sliding_window": 4096},
    ),
    "gemma_2b": (
        "gemma",
        {"vocab_size": 256000, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8}
        | {"num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 8192},
    ),
    "tinyllama": (
        "llama",
        LLAMA
        | {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4}
        | {"max_position_embeddings": 2048},
    ),
    "opt_1.3b": (
        "opt",
        {"vocab_size": 50272, "hidden_size": 2048, "ffn_dim": 8192, "num_hidden_layers": 24, "num_attention_heads": 32}
        | {"word_embed_proj_dim": 2048, "max_position_embeddings": 2048, "do_layer_norm_before": True},
    ),
    "opt_350m": (
        "opt",
        {"vocab_size": 50272, "hidden_size": 1024, "ffn_dim": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        | {"word_embed_proj_dim": 512, "max_position_embeddings": 2048, "do_layer_norm_before": False},
    ),
    "smollm2_135m": (
        "llama",
        {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
        | {"num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True},
    ),
}
PUBLISHED["tinyllama_chat"] = PUBLISHED["tinyllama"]
PUBLISHED["smollm2_135m_q4"] = PUBLISHED["smollm2_135m"]
TINY = [name for name in options("model") if name.removeprefix("tiny_") in PUBLISHED and name not in PUBLISHED]


def read_model(name: str) -> Model:
    return Model.model_validate(yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_and_counts_are_those_of_the_architecture(name: str) -> None:
    """What each big model's YAML says of its size equals transformers' class at the published config."""
    family, published = PUBLISHED[name]
    model = read_model(name)
    config = AutoConfig.for_model(family, **published)
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    assert model.family == family
    assert (model.layers, model.hidden_size, model.vocab_size) == (config.num_hidden_layers, config.hidden_size, config.vocab_size)
    assert model.context_length == config.max_position_embeddings
    assert model.parameters == sum(p.numel() for p in built.parameters())
    projections = [
        (key.split(".")[-2], tuple(p.shape))
        for key, p in built.named_parameters()
        if ".layers." in key and p.dim() == 2 and "norm" not in key
    ]
    assert set(projections) == {(key, tuple(shape)) for key, shape in model.shapes.items()}
    assert len(projections) == model.layers * len(model.shapes)


@pytest.mark.parametrize("name", TINY)
def test_tiny_twin_keeps_what_is_peculiar_to_the_big_one(name: str) -> None:
    """Each twin has the big one's family, projections, targets and heads per key-value head, and room for rank 16 in every projection."""
    tiny, big = read_model(name), read_model(name.removeprefix("tiny_"))
    _, published = PUBLISHED[big.name]
    assert tiny.generated is not None
    assert (tiny.family, set(tiny.shapes), tiny.target_modules) == (big.family, set(big.shapes), big.target_modules)
    kv = published.get("num_key_value_heads", published["num_attention_heads"])
    grouped = tiny.generated.num_attention_heads / tiny.generated.num_key_value_heads
    assert grouped == published["num_attention_heads"] / kv or (big.name == "gemma_2b" and tiny.generated.num_key_value_heads == 1)
    assert ("sliding_window" in tiny.generated.extra) == ("sliding_window" in published)
    assert min(min(shape) for shape in tiny.shapes.values()) >= 16
    assert tiny.context_length >= 2048
    assert tiny.hub is None
