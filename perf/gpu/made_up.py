"""Models, examples and requests that the steps take: real shapes with random weights, lengths as Alpaca's and the benchmarks' are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from olora_bench.config import Experiment, compose, load
from olora_bench.data import Example, Parts
from olora_bench.inits import Adapted
from olora_bench.inits._adapted import groups
from olora_bench.models import Base, load_base, seeded
from perf.gpu import Asked

TINY = ("tiny_llama2_7b", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_tinyllama", "tiny_opt_1.3b")
HEAD = {"tinyllama": 64, "llama2_7b": 128}
"""Model of Llama's family -> its heads' size."""


def experiment(asked: Asked, model: str, *overrides: str) -> Experiment:
    """A LoRA experiment without files, in bf16."""
    return load(compose([
        f"model={model}", "data=made_up", "init=lora", "suite=none", "tracker=none", "lr=1e-4", "precision=bf16", "rank=8",
        "recipe.loss_evaluations=1", f"machine.device={asked.device}", f"machine.results_dir={asked.folder}/results",
        f"machine.cache_dir={asked.folder}/cache", f"machine.wandb_dir={asked.folder}/wandb", *overrides,
    ]))  # fmt: skip


def tiny(asked: Asked, model: str, dtype: torch.dtype, device: str | None = None) -> Base:
    """A tiny base."""
    what = experiment(asked, model)
    return load_base(what.model, None, dtype, device or asked.device, what.machine.cache_dir)


def large(asked: Asked, what: Experiment) -> Base:
    """A base of the experiment's shapes with random weights, made where it is used; with the tokenizer of a tiny one, a token a letter."""
    if asked.tiny:
        return tiny(asked, what.model.name, torch.bfloat16)
    small = tiny(asked, "tiny_tinyllama", torch.float32, "cpu")
    shapes, model = what.model.shapes, what.model
    head = HEAD[model.name]
    config = LlamaConfig(
        vocab_size=model.vocab_size, hidden_size=model.hidden_size, intermediate_size=shapes["gate_proj"][0],
        num_hidden_layers=model.layers, num_attention_heads=shapes["q_proj"][0] // head, num_key_value_heads=shapes["k_proj"][0] // head,
        max_position_embeddings=model.context_length, pad_token_id=0,
    )  # fmt: skip
    with torch.device(asked.device):
        made: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    made.requires_grad_(False)
    size = sum(p.nbytes for p in made.parameters())
    return Base(made.eval(), small.tokenizer, small.folder, torch.bfloat16, torch.device(asked.device), model, "random", size)


def adapted(base: Base, what: Experiment, *, zero: bool = True) -> Adapted:
    """LoRA on the base; with `zero` B is 0, else both factors are drawn, the same on every device."""
    config = LoraConfig(r=what.rank, lora_alpha=what.alpha, target_modules=list(what.model.target_modules), task_type="CAUSAL_LM")
    with seeded(0, base.device):
        model: Any = get_peft_model(base.model, config).eval()
    if not zero:
        generator = torch.Generator().manual_seed(0)
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.data = (0.1 * torch.randn(parameter.shape, generator=generator)).to(parameter.device)
    return Adapted(base, model, groups(model, what), 0.0, (), what.alpha / what.rank, None)


def examples(count: int, seed: int, *, longest: int = 256) -> list[Example]:
    """Lengths as Alpaca's (115 tokens on average), of which the last 60% are supervised."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(4.6, 0.55, count), 8, longest).astype(int)
    return [
        Example(f"{seed}-{i}", "random", rng.integers(3, 259, n).astype(np.int32), np.arange(n) >= 0.4 * n, False)
        for i, n in enumerate(lengths)
    ]


def parts(batches: int, batch_size: int, *, longest: int = 256) -> Parts:
    """A train part of so many batches, and two parts of one example whose losses take no time."""
    return Parts(examples(batches * batch_size, 0, longest=longest), examples(1, 1, longest=longest), examples(1, 2, longest=longest))


def requests(items: int, *, letters: int, shots: int = 0) -> list[Instance]:
    """Four choices an item behind a prompt of about so many letters, and `shots` letters that all have in front."""
    rng = np.random.default_rng(0)

    def text(count: int) -> str:
        return "".join(rng.choice(list("abcdefgh "), count))

    front, found = text(shots), []
    for item in range(items):
        prompt = front + text(int(rng.integers(letters // 2, 2 * letters)))
        found += [
            Instance("loglikelihood", {}, (prompt, " " + text(int(rng.integers(3, 25)))), k, metadata=("made_up", item, 1))
            for k in range(4)
        ]
    return found
