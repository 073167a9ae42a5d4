"""Every number against lm-eval's own HFLM and simple_evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tiny_models import TinyBase
from tiny_rows import SIX, read_benchmarks

from olora_bench.config import Suite
from olora_bench.data import benchmark_tasks
from olora_bench.evaluation import Scorer, Scoring, evaluate

FAMILIES = ("llama", "mistral", "gemma", "opt")


def reference(base: Any, tasks: dict[str, Any], *, num_fewshot: int = 0, batch_size: int = 7) -> dict[str, Any]:
    """lm-eval's own results. Task objects are given, so no index of its tasks is needed."""
    model = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=batch_size, device="cpu")
    manager = TaskManager(include_path=str(Path(lm_eval.__file__).parent / "tasks" / "piqa"), include_defaults=False)
    with mock.patch("lm_eval.evaluator.add_env_info"):  # lists every installed package, which takes seconds
        found = lm_eval.simple_evaluate(
            model, tasks=list(tasks.values()), num_fewshot=num_fewshot, task_manager=manager, bootstrap_iters=10, log_samples=True
        )
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_choice_and_every_metric_equals_lm_evals(family: str, bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """Log-likelihoods within 1e-5 in fp32; acc, acc_norm and their standard errors equal."""
    base, benchmarks = bases[family], read_benchmarks()
    tasks = benchmark_tasks(benchmarks, rows, 0)
    scores, items = evaluate(base.model, base, Scoring(Suite(name="six", benchmarks=SIX), benchmarks, tasks, 512), dtype="fp32")
    theirs = reference(base, tasks)
    for name in SIX:
        ours = items[items.benchmark == name]
        for lls, sample in zip(ours.loglikelihoods, theirs["samples"][name], strict=True):
            np.testing.assert_allclose(lls, [answer[0] for answer in sample["filtered_resps"]], rtol=1e-6, atol=1e-5)
        for metric in benchmarks[name].metrics:
            assert scores[name].metrics[metric] == theirs["results"][name][f"{metric},none"]
            assert scores[name].stderr[metric] == theirs["results"][name][f"{metric}_stderr,none"]
        assert ours["correct"].mean() == pytest.approx(theirs["results"][name]["acc,none"])
        if "acc_norm" in benchmarks[name].metrics:
            assert ours["correct_norm"].mean() == pytest.approx(theirs["results"][name]["acc_norm,none"])


def test_few_shot_prompts_are_lm_evals(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """With examples in front, drawn with lm-eval's seed, the numbers still equal lm-eval's."""
    base, names = bases["llama"], ("arc_challenge", "winogrande")
    benchmarks = read_benchmarks(names)
    tasks = benchmark_tasks(benchmarks, rows, 2)
    asked = Scoring(Suite(name="two", benchmarks=names, num_fewshot=2), benchmarks, tasks, 512)
    _, items = evaluate(base.model, base, asked, dtype="fp32")
    again = evaluate(base.model, base, asked, dtype="fp32")[1]
    assert items.equals(again)
    theirs = reference(base, tasks, num_fewshot=2)
    for name in names:
        for lls, sample in zip(items[items.benchmark == name].loglikelihoods, theirs["samples"][name], strict=True):
            np.testing.assert_allclose(lls, [answer[0] for answer in sample["filtered_resps"]], rtol=1e-6, atol=1e-5)


def with_bos_in_front(base: Any, text: str, length: int) -> tuple[float, bool]:
    """A text's last token after BOS and the `length` - 1 tokens before it."""
    ids = base.tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = base.model(torch.tensor([[ids[0], *ids[-length:-1]]])).logits[0, -1]
    return float(logits.log_softmax(-1)[ids[-1]]), int(logits.argmax()) == ids[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_requests_score_as_in_hflm(family: str, bases: dict[str, TinyBase]) -> None:
    """Empty contexts, trailing spaces and newlines, texts that begin with BOS: as HFLM. So are prompts longer than the model, but that HFLM
    cuts BOS too: there the number is the model's own, BOS in front."""
    base = bases[family]
    theirs = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=4, device="cpu", max_length=24)
    ours = Scorer(base.model, base.tokenizer, device=base.device, token_budget=64)
    ours.max_length = 24
    begin = base.tokenizer.decode(theirs.prefix_token_id)
    pairs = [
        ("", " amber barn"), ("", f"{begin}amber"), ("Question: fjord ", "garnet"), ("Question:\n\n", "garnet hollow"),
        (begin + "amber", " no"), ("amber barn " * 40 + "Answer:", " velvet"), ("Answer:", " yes"), ("Answer:", " no"),
        ("drift", "ing"), ("Ünï ☃", " ☃"),
    ]  # fmt: skip
    requests = [lm_eval.api.instance.Instance("loglikelihood", {}, pair, i, metadata=("odd", i, 1)) for i, pair in enumerate(pairs)]
    want, have = theirs.loglikelihood(requests, disable_tqdm=True), ours.loglikelihood(requests)
    if family != "llama":  # whose tokenizer has no BOS
        want[5] = with_bos_in_front(base, "".join(pairs[5]), 24)
    np.testing.assert_allclose([ll for ll, _ in have], [ll for ll, _ in want], rtol=1e-6, atol=1e-5)
    assert [greedy for _, greedy in have] == [greedy for _, greedy in want]
    assert ours.truncated == {("odd", 5)}


def test_neither_token_budget_nor_item_order_moves_a_score(bases: dict[str, TinyBase]) -> None:
    """Batches of one and of all, forward and reversed, agree within rounding."""
    base = bases["mistral"]
    pairs = [("amber barn " * n + "Answer:", f" {word}") for n in range(1, 8) for word in ("yes", "no", "velvet kettle")]
    requests = [lm_eval.api.instance.Instance("loglikelihood", {}, pair, i, metadata=("odd", i, 1)) for i, pair in enumerate(pairs)]
    found = []
    for budget, asked in ((1, requests), (100_000, requests), (90, requests[::-1])):
        scorer = Scorer(base.model, base.tokenizer, device=base.device, token_budget=budget)
        answers = scorer.loglikelihood(asked)
        found.append([ll for ll, _ in (answers if asked is requests else answers[::-1])])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-6, atol=1e-5)


def test_an_adapter_is_scored_through_peft(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """A PEFT model's numbers are HFLM's on that model, not the base's."""
    import copy

    from peft import LoraConfig, get_peft_model

    base, names = bases["llama"], ("piqa",)
    torch.manual_seed(1)
    model = get_peft_model(copy.deepcopy(base.model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    benchmarks = read_benchmarks(names)
    tasks = benchmark_tasks(benchmarks, rows, 0)
    asked = Scoring(Suite(name="one", benchmarks=names), benchmarks, tasks, 512)
    _, items = evaluate(model, base, asked, dtype="fp32")
    _, plain = evaluate(base.model, base, asked, dtype="fp32")
    theirs = reference(type(base)(model, base.tokenizer, base.device), tasks)["samples"]["piqa"]
    have, want = np.array(items.loglikelihoods.tolist()), np.array([[a[0] for a in s["filtered_resps"]] for s in theirs])
    np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-5)
    assert np.abs(have - np.array(plain.loglikelihoods.tolist())).max() > 1e-2
