from __future__ import annotations

from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from tiny_rows import gpt_like_tokenizer, llama_like_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from olora_bench.data.encoding import encode_pairs, encode_requests
from olora_bench.models.tokenizer import byte_tokenizer

PAIRS = [
    ("Question: amber barn?\nAnswer:", " candle drift"), ("amber ", "barn"), ("amber\n\n", "barn"), ("amber   ", " barn"), ("amb", "er"),
    ("", " amber"), ("", "amber"), ("   ", "amber"), ("Ünï ☃ naïve", " ☃ end."), ("<s>amber", " barn"), ("<|end|>amber", " barn"),
    ("", "<s>amber"),
    ("amber", ""),
]  # fmt: skip


def hflm(tokenizer: PreTrainedTokenizerBase) -> HFLM:
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    return HFLM(pretrained=LlamaForCausalLM(config), tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("make", [gpt_like_tokenizer, llama_like_tokenizer, lambda: byte_tokenizer(512)], ids=["gpt", "llama", "byte"])
def test_what_is_scored_is_encoded_as_lm_evals_hflm_does(make: Any) -> None:
    """Spaces at the end of a context, BOS, empty contexts, merges over the boundary: token for token."""
    tokenizer = make()
    theirs = hflm(tokenizer)
    for pair, ours in zip(PAIRS, encode_requests(tokenizer, PAIRS)[0], strict=True):
        if pair[0].strip():
            assert ours == theirs._encode_pair(*pair), pair
        elif not pair[0]:  # the branch of TemplateLM.loglikelihood that has no function of its own
            caught: list[Any] = []
            theirs._loglikelihood_tokens = lambda requests, caught=caught, **_: caught.extend(requests) or []  # type: ignore[method-assign]
            theirs.loglikelihood([type("Request", (), {"args": pair})], disable_tqdm=True)
            assert ours == caught[0][1:], pair


def test_a_context_of_spaces_counts_as_empty() -> None:
    """lm-eval stops there; here the prefix token stands in, and the spaces belong to the continuation."""
    tokenizer = byte_tokenizer(512)
    assert encode_pairs(tokenizer, [("  ", "ab")]) == encode_pairs(tokenizer, [("", "  ab")])
