"""Random model folders of the four architectures, each drawn from its number: what a user's own plain model may look like."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from olora_bench.config import HubSource, Model

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))

from tiny_rows import gpt_like_tokenizer, llama_like_tokenizer

FAMILIES = ("llama", "mistral", "gemma", "opt")
CONTEXT = 128


@dataclass(frozen=True)
class Drawn:
    """A folder written to disk, what its YAML would say, and what was drawn (for a failure's message)."""

    folder: Path
    model: Model
    config: dict[str, Any]


def draw(number: int, parent: Path) -> Drawn:
    """Folder `number`, as `drawn_config` has it, in one file or in shards."""
    family, config = drawn_config(number)
    tokenizer = _tokenizer(number)
    config["vocab_size"] += len(tokenizer)
    config |= {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    folder = parent / f"{family}_{number}"
    _write(number, family, config, folder, "12KB" if sharded(number) else "10GB")
    tokenizer.save_pretrained(folder)
    return Drawn(folder, _yaml(folder, family, config), config)


def sharded(number: int) -> bool:
    return number // 4 % 2 == 0


def _tokenizer(number: int) -> PreTrainedTokenizerFast:
    return gpt_like_tokenizer() if number // 8 % 2 else llama_like_tokenizer()


def drawn_config(number: int) -> tuple[str, dict[str, Any]]:
    """The family, which goes round, and what config.json says; `vocab_size` is the number of rows that the tokenizer leaves unused."""
    rng, family = random.Random(number), FAMILIES[number % 4]
    config = _common(rng)
    return family, config | (_opt(rng, config["hidden_size"]) if family == "opt" else _rotary(rng, family, config))


def _common(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice((2, 4, 6))
    return {
        "vocab_size": rng.choice((0, 5)), "hidden_size": heads * rng.choice((6, 8)), "num_hidden_layers": rng.choice((1, 2, 3)),
        "num_attention_heads": heads, "max_position_embeddings": CONTEXT, "tie_word_embeddings": rng.random() < 0.5,
    }  # fmt: skip


def _opt(rng: random.Random, hidden: int) -> dict[str, Any]:
    return {
        "ffn_dim": 40, "word_embed_proj_dim": rng.choice((hidden, hidden, 10)), "do_layer_norm_before": rng.random() < 0.6,
        "activation_function": rng.choice(("relu", "gelu")), "enable_bias": rng.random() < 0.7,
        "layer_norm_elementwise_affine": rng.random() < 0.8,
    }  # fmt: skip


def _rotary(rng: random.Random, family: str, config: dict[str, Any]) -> dict[str, Any]:
    heads = config["num_attention_heads"]
    drawn: dict[str, Any] = {
        "intermediate_size": 40, "num_key_value_heads": rng.choice([k for k in (1, 2, heads) if heads % k == 0]),
        "head_dim": rng.choice((config["hidden_size"] // heads, 8, 10)), "rms_norm_eps": rng.choice((1e-5, 1e-6)),
        "hidden_act": rng.choice(("silu", "silu", "gelu_pytorch_tanh", "relu")), "rope_parameters": _rope(rng),
    }  # fmt: skip
    if family == "mistral":
        return drawn | {"sliding_window": rng.choice((None, 5, 33))}
    if family == "llama":
        drawn |= {"mlp_bias": rng.random() < 0.5, "sliding_window": rng.choice((None, 9))}  # a window that Llama does not have
    return drawn | {"attention_bias": rng.random() < 0.5}


def _rope(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("default", "linear", "dynamic", "llama3", "yarn"))
    found: dict[str, Any] = {"rope_type": kind, "rope_theta": rng.choice((10000.0, 500000.0))}
    if kind != "default":
        found["factor"] = rng.choice((2.0, 4.0))
    if kind in ("llama3", "yarn"):
        found["original_max_position_embeddings"] = CONTEXT // 4
    return found | ({"low_freq_factor": 1.0, "high_freq_factor": 4.0} if kind == "llama3" else {})


def _write(number: int, family: str, config: dict[str, Any], folder: Path, shard_size: str) -> None:
    torch.manual_seed(number)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name and name.endswith("weight") and family != "gemma" else 0.0, std=0.3)
    model.save_pretrained(folder, max_shard_size=shard_size)


def _yaml(folder: Path, family: str, config: dict[str, Any]) -> Model:
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config))
    linears = {n: m for n, m in built.named_modules() if ".layers." in n and type(m) is torch.nn.Linear}
    return Model(
        name=folder.name, family=family, hub=HubSource(id=f"me/{folder.name}", revision="0" * 40), target_modules=("q_proj", "v_proj"),
        shapes={name.rpartition(".")[2]: (m.out_features, m.in_features) for name, m in linears.items()},
        layers=config["num_hidden_layers"], hidden_size=config["hidden_size"], vocab_size=config["vocab_size"],
        parameters=sum(p.numel() for p in built.parameters()), context_length=CONTEXT, licence="mine",
    )  # fmt: skip
