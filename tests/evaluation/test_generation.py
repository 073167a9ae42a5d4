"""Greedy answers against transformers' own, one prompt at a time; BLEU and ROUGE against values worked out by hand."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import FAMILIES, TinyBase
from transformers import GenerationConfig

from olora_bench.data.items import Item
from olora_bench.evaluation import generate, text_metrics
from olora_bench.models.causal import causal_model

PROMPTS = ["amber barn Answer:", "candle", "drift ember fjord garnet hollow island jigsaw kettle Answer:", "amber barn candle Answer:"]


def items(prompts: list[str]) -> list[Item]:
    return [Item(f"train-{i}", "made", prompt, " yes", prompt, " yes") for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [1, 40, 1000])
def test_batched_answers_are_those_of_one_prompt_alone(family: str, budget: int, bases: dict[str, TinyBase]) -> None:
    """Padding, batch and cache change no token; the answer ends before the end-of-sequence token, or at the cap."""
    base = bases[family]
    found = generate(base.model, base, items(PROMPTS), max_new_tokens=8, token_budget=budget, dtype=torch.float32)
    for prompt, (_, row) in zip(PROMPTS, found.iterrows(), strict=True):
        ids = base.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            for _ in range(8):
                following = base.model(ids).logits[0, -1].argmax()
                if following == base.tokenizer.eos_token_id:
                    break
                ids = torch.cat([ids, following[None, None]], dim=1)
        alone = ids[0, len(base.tokenizer(prompt)["input_ids"]) :]
        assert row["tokens"] == len(alone)
        assert row["output"] == base.tokenizer.decode(alone, skip_special_tokens=True)
        assert row["finished"] == (len(alone) < 8)
    assert found["item_id"].tolist() == [f"train-{i}" for i in range(4)]
    assert not found["truncated"].any()


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_what_a_models_folder_says_of_generation_is_not_heard(adapted: bool, bases: dict[str, TinyBase]) -> None:
    """Sampling, penalties and forbidden tokens in generation_config.json change no answer, and are there again afterwards."""
    base, options = bases["llama"], {"max_new_tokens": 8, "token_budget": 1000, "dtype": torch.float32}
    model = get_peft_model(copy.deepcopy(base.model), LoraConfig(r=4, target_modules=["q_proj"])) if adapted else base.model
    plain = generate(model, base, items(PROMPTS), **options)
    first = base.tokenizer(plain["output"][0], add_special_tokens=False)["input_ids"][0]
    asked = GenerationConfig(do_sample=True, repetition_penalty=9.0, suppress_tokens=[first], no_repeat_ngram_size=1, min_new_tokens=8)
    before = causal_model(model).generation_config
    model.generation_config = causal_model(model).generation_config = asked
    try:
        pd.testing.assert_frame_equal(generate(model, base, items(PROMPTS), **options), plain)
        assert causal_model(model).generation_config is asked
    finally:
        causal_model(model).generation_config = before


def test_a_prompt_without_room_for_its_answer_loses_its_beginning(bases: dict[str, TinyBase]) -> None:
    """Counted in a column of its own."""
    base = bases["opt"]
    found = generate(base.model, base, items(["amber " * 400, "amber"]), max_new_tokens=8, token_budget=600, dtype=torch.float32)
    assert found["truncated"].tolist() == [True, False]


def test_bleu_and_rouge_are_those_worked_out_by_hand() -> None:
    """Of 6 words 5 agree, in order; bigrams 3 of 5. Equal texts score full, others nothing."""
    found = text_metrics(["the cat sat on the mat"], ["the cat sat on a mat"])
    assert found["rouge1"] == pytest.approx(5 / 6)
    assert found["rouge2"] == pytest.approx(3 / 5)
    assert found["rougeL"] == pytest.approx(5 / 6)
    # (5/6 * 3/5 * 2/4 * 1/3) ** (1/4), no brevity penalty
    assert found["bleu"] == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert "version:" in found["bleu_signature"]
    same = text_metrics(["one two three four five"] * 2, ["one two three four five"] * 2)
    assert (same["bleu"], same["rouge1"], same["empty"]) == (pytest.approx(100), 1.0, 0)
    assert text_metrics([""], ["one two"]) | {"bleu_signature": ""} == {
        "bleu": 0.0, "rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0, "items": 1, "empty": 1, "bleu_signature": "",
        "rouge_settings": "rouge-score, mean F1, no stemming",
    }  # fmt: skip
