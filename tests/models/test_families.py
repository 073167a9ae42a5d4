"""Architectures beside those that conf/ ships: the ones whose packed rows are checked, and the general path; against transformers, PEFT
and lm-eval's HFLM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from test_losses import Rows, adapted, by_transformers, nll_of, rows
from transformers import AutoConfig, AutoModelForCausalLM

from olora_bench.config.schema import PLAIN_FAMILIES
from olora_bench.errors import BadInput
from olora_bench.evaluation import Scorer
from olora_bench.models import pack
from olora_bench.models.general import check_causal, is_general

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))

from tiny_rows import llama_like_tokenizer

PLAIN: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 8, "layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": True, "sliding_window": 33},
    "gemma3_text": {
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 33,
        "query_pre_attn_scalar": 3,
    },
    "phi3": {"partial_rotary_factor": 0.5, "sliding_window": 33, "target_modules": ["qkv_proj", "o_proj"]},
}
GENERAL: dict[str, dict[str, Any]] = {
    "phi": {}, "qwen2": {}, "stablelm": {"use_qkv_bias": True}, "cohere": {"logit_scale": 0.25}, "granite": {"logits_scaling": 4.0},
    "gemma2": {"head_dim": 8, "sliding_window": 33, "final_logit_softcapping": 5.0},
    "gpt_neox": {"target_modules": ["query_key_value"]},
}  # fmt: skip
CASES = PLAIN | GENERAL


def tiny(family: str, size: int = 260) -> Any:
    own = {key: value for key, value in CASES[family].items() if key != "target_modules"}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"vocab_size": size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 256}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(sizes | ids | own))).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return model.requires_grad_(False)


@pytest.mark.parametrize("family", CASES)
def test_losses_and_gradients_equal_transformers(family: str) -> None:
    """Within 1e-5, through an adapter on the family's own projections."""
    model = adapted(tiny(family), target_modules=CASES[family].get("target_modules", ["q_proj", "v_proj"]))
    assert is_general(model) == (family not in PLAIN_FAMILIES)
    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = nll_of(model, pack(rows())), by_transformers(model, rows())
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    pairs = (torch.autograd.grad(nll.sum(), parameters) for nll in (ours, theirs))
    for mine, other in zip(*pairs, strict=True):
        assert (mine - other).norm() <= 2e-5 * other.norm() + 1e-7


@pytest.mark.parametrize("family", GENERAL)
def test_scores_of_the_general_path_are_hflms_and_say_so(family: str) -> None:
    tokenizer = llama_like_tokenizer()
    model = tiny(family, len(tokenizer))
    asked = [("amber barn Answer:", " candle"), ("amber barn Answer:", " drift ember"), ("fjord", " garnet hollow island")]
    requests = [Instance("loglikelihood", {}, pair, k, metadata=("odd", k, 1)) for k, pair in enumerate(asked)]
    want = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu").loglikelihood(requests, disable_tqdm=True)
    scorer = Scorer(model, tokenizer)
    have = scorer.loglikelihood(requests)
    np.testing.assert_allclose([ll for ll, _ in have], [ll for ll, _ in want], rtol=1e-6, atol=1e-5)
    assert [greedy for _, greedy in have] == [greedy for _, greedy in want]
    assert scorer.notes == [
        f"scored in lm-eval's own way, which is slower: model type {family} is none of those checked ({', '.join(PLAIN_FAMILIES)})"
    ]


def test_few_logits_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three examples of one length, one after another: the same losses and the same gradient."""
    model = adapted(tiny("phi"))
    sequences: Rows = [(ids[:8], supervised[:8]) for ids, supervised in rows()[:3]]
    whole = nll_of(model, pack(sequences))
    monkeypatch.setattr("olora_bench.models.general.LOGITS_AT_ONCE", 1)
    torch.testing.assert_close(nll_of(model, pack(sequences)), whole, atol=1e-5, rtol=1e-6)


def test_a_model_that_looks_ahead_is_refused() -> None:
    """BERT as transformers makes it for generating, though not told to look back alone."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    check_causal("mine", tiny("phi"))
    with pytest.raises(BadInput) as caught:
        check_causal("mine", AutoModelForCausalLM.from_config(AutoConfig.for_model("bert", **sizes)).eval())
    assert str(caught.value) == (
        "model mine looks ahead: what it predicts at a token hangs on the tokens after it. Allowed: a causal language model "
        "(its config.json says model_type=bert)"
    )
