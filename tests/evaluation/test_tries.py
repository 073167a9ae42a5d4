"""Tries against HFLM, whatever the requests share, and whatever the batches."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny_models import FAMILIES, TinyBase, tiny_base
from transformers import AutoModelForCausalLM, GPT2Config

from olora_bench.evaluation import Scorer
from olora_bench.evaluation.logprobs import head_logprobs
from olora_bench.evaluation.tree_attention import seen_by
from olora_bench.evaluation.trie import build_plan

WORDS = ["amber", "barn", "candle", "drift", "ember", "fjord", "garnet", "hollow", "island", "jigsaw", "kettle", "lantern"]


def text(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def requests_of(rng: random.Random, *, shots: int, task: str = "odd") -> list[Instance]:
    """Items whose choices share the prompt, whose contexts differ, whose choices begin alike; all behind the same `shots` words."""
    front = text(random.Random(task), shots)
    found = []
    for item in range(rng.randint(5, 9)):
        prompt = f"{front} Question: {text(rng, rng.randint(1, 12))} Answer:"
        if item % 3 == 0:
            pairs = [(prompt, f" {text(rng, rng.randint(1, 6))}") for _ in range(4)]
        elif item % 3 == 1:
            pairs = [(f"{prompt} {word}", " and so it was") for word in rng.sample(WORDS, 2)]
        else:
            same = text(rng, 3)
            pairs = [(prompt, f" {same}"), (prompt, f" {same} {text(rng, 2)}"), (prompt, " yes"), (prompt, " no"), (prompt, " yes")]
        found += [Instance("loglikelihood", {}, pair, k, metadata=(task, item, 1)) for k, pair in enumerate(pairs)]
    return found


def lm_eval_says(base: TinyBase, requests: list[Instance]) -> list[tuple[float, bool]]:
    return list(
        HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=4, device="cpu").loglikelihood(requests, disable_tqdm=True)
    )


def assert_same(have: list[tuple[float, bool]], want: list[tuple[float, bool]]) -> None:
    np.testing.assert_allclose([ll for ll, _ in have], [ll for ll, _ in want], rtol=1e-6, atol=1e-5)
    assert [greedy for _, greedy in have] == [greedy for _, greedy in want]


@pytest.mark.parametrize("shots", [0, 60])
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_prompts_differing_contexts_and_a_shared_beginning_score_as_in_hflm(
    family: str, shots: int, bases: dict[str, TinyBase]
) -> None:
    """Within 1e-5, for two tasks at once, with and without a beginning that all items of a task share."""
    rng = random.Random(shots)
    requests = requests_of(rng, shots=shots) + requests_of(rng, shots=shots, task="other")
    scorer = Scorer(bases[family].model, bases[family].tokenizer, token_budget=200)
    assert_same(scorer.loglikelihood(requests), lm_eval_says(bases[family], requests))
    plans, _ = scorer._plans(requests)
    assert all((len(plan.prefix) >= 32) == bool(shots) for plan in plans)
    assert scorer.notes == []


def test_a_sliding_window_shorter_than_the_rows_is_kept(bases: dict[str, TinyBase]) -> None:
    """Mistral that sees 7 tokens back, in tries and behind a shared beginning."""
    base = tiny_base("mistral", sliding_window=7)
    for shots in (0, 60):
        requests = requests_of(random.Random(3), shots=shots)
        want = lm_eval_says(base, requests)
        assert_same(Scorer(base.model, base.tokenizer, token_budget=300).loglikelihood(requests), want)
        wide = lm_eval_says(bases["mistral"], requests)
        assert np.abs(np.array([w[0] for w in wide]) - [w[0] for w in want]).max() > 1e-2


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2000), st.randoms(use_true_random=False), st.sampled_from(FAMILIES))
def test_scores_hang_on_neither_budget_nor_order(budget: int, rng: random.Random, family: str) -> None:
    """Random budgets and permutations of the requests, within 1e-5 of one row at a time."""
    base = _BASES.setdefault(family, tiny_base(family))
    requests = requests_of(random.Random(5), shots=40) + requests_of(random.Random(6), shots=0, task="other")
    want = Scorer(base.model, base.tokenizer, token_budget=1).loglikelihood(requests)
    order = list(range(len(requests)))
    rng.shuffle(order)
    found = Scorer(base.model, base.tokenizer, token_budget=budget).loglikelihood([requests[i] for i in order])
    assert_same(found, [want[i] for i in order])


_BASES: dict[str, TinyBase] = {}


def test_a_tries_mask_is_the_ancestor_relation() -> None:
    """Each column sees itself and what is above it in its sequence, nothing else; read columns spell the continuations."""
    encoded = [([5, 6, 7], [8, 9, 1]), ([5, 6, 7], [8, 3]), ([5, 6, 7], [2]), ([5, 4], [8, 9])]
    plan = build_plan(encoded, [0, 0, 0, 0], merged=[False] * 4, begin=None, max_length=50, pair_cost=0.0)
    assert plan.tokens.tolist() == [5, 4, 8, 6, 7, 8, 9]
    assert plan.depths.tolist() == [0, 1, 2, 1, 2, 3, 4]
    seen = seen_by(torch.from_numpy(plan.depths)[None], torch.from_numpy(plan.ends)[None], 0, None)[0]
    above = {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 3], 4: [0, 3, 4], 5: [0, 3, 4, 5], 6: [0, 3, 4, 5, 6]}
    assert {i: seen[i].nonzero()[:, 0].tolist() for i in range(7)} == above
    reads = sorted(zip(plan.read_owners.tolist(), plan.read_columns.tolist(), plan.read_targets.tolist(), strict=True))
    assert reads == [(0, 4, 8), (0, 5, 9), (0, 6, 1), (1, 4, 8), (1, 5, 3), (2, 4, 2), (3, 1, 8), (3, 2, 9)]


def test_where_a_trie_saves_nothing_rows_stay_plain() -> None:
    """Contexts that share one token go in rows of their own when attending costs something; a shared prompt does not."""
    apart = [([1, *range(k, k + 40)], [3]) for k in (10, 100)]
    together = [([1, *range(10, 50)], [k, 3]) for k in (5, 6)]
    assert len(build_plan(apart, [0, 0], merged=[False] * 2, begin=None, max_length=99, pair_cost=1e-3).lengths) == 2
    assert len(build_plan(together, [0, 0], merged=[False] * 2, begin=None, max_length=99, pair_cost=1e-3).lengths) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_the_head_in_pieces_is_log_softmax(bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch's own in fp64, with pieces that divide neither states nor vocabulary; bf16 weights are read as fp32."""
    import olora_bench.evaluation.logprobs as module

    for name, size in {"_LOGITS_AT_ONCE": 1000 * 4, "_SOFTMAX_ROWS": 3, "_WEIGHTS_AT_ONCE": 300, "_STATES_AT_ONCE": 4}.items():
        monkeypatch.setattr(module, name, size)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1000, 16, generator=generator).to(dtype)
    states, offset = torch.randn(9, 16, generator=generator).to(dtype), torch.randn(1000, generator=generator) if bias else None
    which, targets = np.array([0, 0, 3, 8, 8]), np.array([999, 0, 299, 300, 511])
    logits = torch.nn.functional.linear(states.double(), weight.double(), None if offset is None else offset.double())
    want = torch.log_softmax(logits, -1)[which, targets]
    values, greedy = head_logprobs(states, weight, offset, which, targets)
    np.testing.assert_allclose(values, want.numpy(), atol=1e-5)
    best = logits.argmax(1).numpy()
    assert greedy.tolist() == (best[which] == targets).tolist()
    assert head_logprobs(states, weight, offset, np.arange(9), best)[1].all()


def test_answers_are_those_of_the_weights_as_they_are_now(bases: dict[str, TinyBase], tmp_path: Path) -> None:
    """The same prompts, from the cache, asked of a model whose weights changed meanwhile: lm-eval's cache would give the old answers."""
    base = tiny_base("llama")
    requests = requests_of(random.Random(4), shots=40)
    before = Scorer(base.model, base.tokenizer, cache_dir=tmp_path).loglikelihood(requests)
    with torch.no_grad():
        base.model.model.layers[0].mlp.down_proj.weight[3] += 1
    scorer = Scorer(base.model, base.tokenizer, cache_dir=tmp_path)
    after = scorer.loglikelihood(requests)
    assert_same(after, lm_eval_says(base, requests))
    assert min(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_ours_is_as_near_to_fp32_as_hflm(family: str, bases: dict[str, TinyBase]) -> None:
    """Both round; over all choices, ours is not further from the fp32 model than half as much again as HFLM is."""
    import copy

    exact, requests = bases[family], requests_of(random.Random(7), shots=40) + requests_of(random.Random(8), shots=0, task="other")
    rounded = TinyBase(copy.deepcopy(exact.model).bfloat16(), exact.tokenizer, exact.device)
    upcast = TinyBase(copy.deepcopy(rounded.model).float(), exact.tokenizer, exact.device)
    want = np.array([ll for ll, _ in lm_eval_says(upcast, requests)])
    theirs = np.array([ll for ll, _ in lm_eval_says(rounded, requests)])
    ours = np.array([ll for ll, _ in Scorer(rounded.model, rounded.tokenizer, token_budget=300).loglikelihood(requests)])
    assert np.abs(ours - want).mean() <= 1.5 * np.abs(theirs - want).mean()


def test_another_architecture_goes_lm_evals_way_and_says_so(capsys: pytest.CaptureFixture[str], bases: dict[str, TinyBase]) -> None:
    """GPT-2 is not among those checked: its numbers are HFLM's, and a note says how they were made."""
    torch.manual_seed(0)
    tokenizer = bases["llama"].tokenizer
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)).eval()
    base = TinyBase(model, tokenizer, torch.device("cpu"))
    requests = requests_of(random.Random(1), shots=0)
    scorer = Scorer(model, tokenizer)
    assert_same(scorer.loglikelihood(requests), lm_eval_says(base, requests))
    assert "model type gpt2" in scorer.notes[0]
    assert "lm-eval's own way" in capsys.readouterr().err
