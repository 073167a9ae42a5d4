"""Twelve seeded tokenizers: log-likelihoods equal HFLM's, and where they are meant to differ, those of the model on the tokens meant."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from seeded_tokenizers import TEMPLATES, around, corpus, make_tokenizer, seeded_tokenizer
from test_tries import assert_same, lm_eval_says
from tiny_models import TinyBase
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerBase

from olora_bench.errors import BadInput
from olora_bench.evaluation import Scorer, generate


def base_of(tokenizer: PreTrainedTokenizerBase, kind: str = "llama") -> TinyBase:
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = GPT2Config(**sizes) if kind == "gpt2" else LlamaConfig(**sizes, intermediate_size=48, max_position_embeddings=256)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return TinyBase(model, tokenizer, torch.device("cpu"))


def asked(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, k, metadata=("odd", k // 2, 1)) for k, pair in enumerate(pairs)]


def pairs_of(seed: int, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """Prompts of the corpus' kind, two choices each, borders that merge and empty prompts among them; no choice without a token."""
    rng, found = random.Random(seed), list[tuple[str, str]]()
    for line in corpus(rng)[:12]:
        begin, prompt = rng.choice(("", "", "<s>")), rng.choice((line[: rng.randint(5, 60)], "### Response:\n", "Answer:", ""))
        found += [(begin + prompt, f"{rng.choice(('', ' '))}{word} {rng.randint(0, 2000)}") for word in line.split()[-2:]]
    return [pair for pair in found if adds_a_token(tokenizer, *pair)]


def adds_a_token(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str) -> bool:
    alone, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context.rstrip(), context + continuation))
    return len(whole) > len(alone)


def without_eos(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The tokenizer as the method means it: lm-eval given this one scores what we score."""
    twin = copy.deepcopy(tokenizer)
    begins = tokenizer("no")["input_ids"][0] == tokenizer.bos_token_id
    twin.backend_tokenizer.post_processor = around("<s> $A" if begins else "$A")
    return twin


@pytest.mark.parametrize("seed", range(12))
def test_a_seeded_tokenizers_scores_are_hflms(seed: int) -> None:
    """As HFLM with the very tokenizer; where that one puts EOS after texts, as HFLM with the tokenizer that does not, and it is said."""
    tokenizer = seeded_tokenizer(seed)
    base, ends = base_of(tokenizer), (TEMPLATES[seed % 4] or "").endswith("</s>")
    requests = asked(pairs_of(seed, tokenizer))
    scorer = Scorer(base.model, tokenizer, token_budget=300)
    have = scorer.loglikelihood(requests)
    meant = TinyBase(base.model, without_eos(tokenizer), base.device) if ends else base
    assert_same(have, lm_eval_says(meant, requests))
    said = ["the tokenizer puts </s> after every text; it is left out here, where lm-eval keeps it"]
    assert scorer.notes == (said if ends else [])
    if ends:
        theirs = np.array([ll for ll, _ in lm_eval_says(base, requests)])
        assert np.abs(theirs - [ll for ll, _ in have]).max() > 1e-2


def test_items_whose_prompt_merges_with_a_choice_are_known() -> None:
    """':' and a line end are one token here: the score is lm-eval's, and the item is counted."""
    tokenizer = make_tokenizer("lines", "<s> $A")
    base = base_of(tokenizer)
    requests = asked([("### Response:\n", "no"), ("### Response:\n", "said"), ("Answer:", " no"), ("Answer:", " said")])
    scorer = Scorer(base.model, tokenizer)
    assert_same(scorer.loglikelihood(requests), lm_eval_says(base, requests))
    assert scorer.merged == {("odd", 0)}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_cut_prompt_keeps_bos(template: str | None, kind: str) -> None:
    """On purpose otherwise than in HFLM: BOS and the last tokens that fit, in tries and in lm-eval's own way alike."""
    tokenizer = make_tokenizer("gpt", template)
    base = base_of(tokenizer, kind)
    long, front = "said no lad 407 " * 20, [tokenizer.bos_token_id] if template in TEMPLATES[1::2] else []
    requests = asked([(long, " no 1990"), (long, " said"), ("Answer:", " no"), ("Answer:", " said")])
    scorer = Scorer(base.model, tokenizer)
    scorer.max_length = 24
    for (value, _), request in zip(scorer.loglikelihood(requests), requests, strict=True):
        ids = tokenizer("".join(request.args), add_special_tokens=False)["input_ids"]
        count = len(ids) - len(tokenizer(request.args[0].rstrip(), add_special_tokens=False)["input_ids"])
        fed = [*front, *ids[-(25 - len(front)) :]]
        with torch.no_grad():
            logprobs = base.model(torch.tensor([fed[:-1]])).logits[0].log_softmax(-1)
        want = sum(float(logprobs[k - 1, fed[k]]) for k in range(len(fed) - count, len(fed)))
        assert value == pytest.approx(want, abs=1e-4)
    assert scorer.truncated == {("odd", 0)}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_to_be_answered_has_bos_and_no_eos_and_a_cut_keeps_bos(template: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model is fed is BOS, where the tokenizer has it, and the prompt's last tokens."""
    from olora_bench.data.items import Item

    tokenizer = make_tokenizer("lines", template)
    base, fed = base_of(tokenizer), list[list[int]]()
    real = type(base.model).generate

    def spied(model: Any, **given: Any) -> Any:
        fed.extend(row[mask.bool()].tolist() for row, mask in zip(given["input_ids"], given["attention_mask"], strict=True))
        return real(model, **given)

    monkeypatch.setattr(type(base.model), "generate", spied)
    prompts = ["said no lad 407 " * 60, "### Response:\n"]
    found = generate(
        base.model, base, [Item("i", "made", p, "no", p, "no") for p in prompts], max_new_tokens=6, token_budget=1, dtype=torch.float32
    )
    front = [tokenizer.bos_token_id] if template in TEMPLATES[1::2] else []
    ids = [tokenizer(p.rstrip(" "), add_special_tokens=False)["input_ids"] for p in prompts]
    assert fed == [[*front, *ids[0][-(250 - len(front)) :]], [*front, *ids[1]]]
    assert found["truncated"].tolist() == [True, False]


def test_lm_evals_own_kinds_of_request_are_refused_where_eos_would_end_a_prompt() -> None:
    """They are tokenised inside lm-eval, which leaves EOS in."""
    tokenizer = make_tokenizer("gpt", "$A </s>")
    scorer = Scorer(base_of(tokenizer).model, tokenizer)
    with pytest.raises(BadInput) as caught:
        scorer.generate_until([])
    assert str(caught.value) == (
        "the tokenizer puts </s> after every text, and so after prompts in lm-eval's generate_until. "
        "Take it out of the post-processor in tokenizer.json, or ask only for log-likelihoods"
    )
    with pytest.raises(BadInput, match="in lm-eval's loglikelihood_rolling"):
        scorer.loglikelihood_rolling([])


def test_a_tokenizer_keeps_its_padding_token_when_lm_eval_is_asked() -> None:
    """HFLM gives the one it holds a padding token."""
    tokenizer = make_tokenizer("gpt", None)
    scorer = Scorer(base_of(tokenizer, "gpt2").model, tokenizer)
    scorer.loglikelihood(asked([("no", " said")]))
    assert tokenizer.pad_token is None
    assert scorer.hflm.tokenizer.pad_token is not None
