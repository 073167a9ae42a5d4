"""A GPU's way of scoring, run on a processor with its kernels' formulas in their place; and memory that runs out while scoring."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_tries import assert_same, lm_eval_says, requests_of
from tiny_models import FAMILIES, TinyBase, tiny_base

from olora_bench.config import compose, load
from olora_bench.config.memory import scoring_memory
from olora_bench.evaluation import NoRoom, Scorer, generation, scores, token_budget, tree_attention
from olora_bench.evaluation import logprobs as module
from olora_bench.evaluation.logprobs import head_logprobs
from tests import gpu_twins

TRIED = "DefaultCPUAllocator: {}: you tried to allocate 9 bytes. Error code 12"
NO_MEMORY: list[Callable[[], BaseException]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    lambda: MemoryError(),
    lambda: RuntimeError(TRIED.format("not enough memory")),
    lambda: RuntimeError(TRIED.format("can't allocate memory")),
]


@pytest.mark.parametrize("shots", [0, 60])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpus_scores_are_hflms(family: str, shots: int, bases: dict[str, TinyBase], monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 within 1e-5."""
    gpu_twins.use(monkeypatch)
    requests = requests_of(random.Random(shots), shots=shots)
    scorer = Scorer(bases[family].model, bases[family].tokenizer, token_budget=200)
    assert_same(scorer.loglikelihood(requests), lm_eval_says(bases[family], requests))


def test_a_gpu_sees_many_tries_as_few_shapes() -> None:
    """Each group costs its host a dozen kernels a layer; a processor pads less."""
    lengths = list(range(280, 80, -1))
    assert [len(list(tree_attention._cut(lengths, 0, on_gpu=on_gpu))) for on_gpu in (False, True)] == [27, 3]


@pytest.mark.parametrize("prefix", [0, 35])
def test_a_masks_rows_are_aligned(prefix: int, bases: dict[str, TinyBase], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else torch copies them in every layer."""
    gpu_twins.use(monkeypatch)
    model, lengths = bases["llama"].model, [13, 9]
    front = tuple((torch.zeros(2, prefix, 8),) * 2 for _ in range(2)) if prefix else ()
    depths = np.concatenate([np.arange(length) for length in lengths])
    ends = np.concatenate([np.full(length, length) for length in lengths])
    for group in tree_attention.layout_of(model, lengths, depths, ends, front).groups:
        for mask in group.masks.values():
            assert mask.shape[-1] == prefix + 13 and all(stride % 8 == 0 for stride in mask.stride()[:-1])


@pytest.mark.parametrize("bias", [False, True])
def test_a_gpus_head_in_16_bits_is_log_softmax(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch's own in fp64 from the rounded numbers."""
    gpu_twins.use(monkeypatch)
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 1000 * 4)
    generator = torch.Generator().manual_seed(0)
    weight, states = (torch.randn(count, 16, generator=generator).bfloat16() for count in (1000, 9))
    offset = torch.randn(1000, generator=generator) if bias else None
    logits = torch.nn.functional.linear(states.double(), weight.double(), None if offset is None else offset.double())
    which, best = np.array([0, 0, 3, 8, 8]), logits.argmax(1).numpy()
    targets = np.array([999, best[0], 299, 300, best[8]])
    values, greedy = head_logprobs(states, weight, offset, which, targets)
    np.testing.assert_allclose(values, torch.log_softmax(logits, -1)[which, targets], atol=1e-5)
    assert greedy.tolist() == (best[which] == targets).tolist()


@pytest.mark.parametrize("error", NO_MEMORY)
def test_scoring_that_runs_out_of_memory_halves_its_budget(
    error: Callable[[], BaseException], bases: dict[str, TinyBase], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GPU's error and a processor's: rows done stay done, the others go on in smaller passes, every number as before."""
    base, requests, real = bases["llama"], requests_of(random.Random(5), shots=0), module.last_hidden

    def narrow(causal: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(ids) > 128:
            raise error()
        return real(causal, ids, *rest)

    want = Scorer(base.model, base.tokenizer, token_budget=512).loglikelihood(requests)
    monkeypatch.setattr(module, "last_hidden", narrow)
    scorer = Scorer(base.model, base.tokenizer, token_budget=512)
    assert_same(scorer.loglikelihood(requests), want)
    assert scorer.budget.tokens == 128
    assert "out of memory: this again, and all after it, with 128 tokens at a time" in capsys.readouterr().err


def test_scoring_that_cannot_be_made_smaller_tells_why(bases: dict[str, TinyBase], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not below 64 tokens; and what is no lack of memory is not tried again."""
    base, requests = bases["llama"], requests_of(random.Random(5), shots=0)
    for error, tokens in ((MemoryError("none"), 64), (RuntimeError("a bug"), 512)):
        monkeypatch.setattr(module, "last_hidden", lambda *_, error=error: (_ for _ in ()).throw(error))
        scorer = Scorer(base.model, base.tokenizer, token_budget=512)
        with pytest.raises(type(error), match=str(error)):
            scorer.loglikelihood(requests)
        assert scorer.budget.tokens == tokens


def test_answers_that_run_out_of_memory_are_written_in_smaller_batches(bases: dict[str, TinyBase], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is the same."""
    base = bases["llama"]
    asked = [SimpleNamespace(id=str(i), context=f"amber barn {'ember ' * i}", continuation="fjord") for i in range(6)]
    options: dict[str, Any] = {"max_new_tokens": 8, "token_budget": 1024, "dtype": torch.float32}
    want = generation.generate(base.model, base, asked, **options)
    real = base.model.generate

    def narrow(*, input_ids: torch.Tensor, **more: Any) -> torch.Tensor:
        if len(input_ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(input_ids=input_ids, **more)

    monkeypatch.setattr(base.model, "generate", narrow)
    assert generation.generate(base.model, base, asked, **options)["output"].tolist() == want["output"].tolist()


def test_a_budget_of_scoring_is_what_fits(machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU takes 65,536 tokens at a time, a processor 2,048; half as many as often as memory asks, 64 at least."""
    what = load(compose(["model=llama2_7b", "precision=bf16", *machine]))
    for device, most in (("cpu", 2048), ("cuda", 65536)):
        for room, tokens in ((scoring_memory(what, most), most), (scoring_memory(what, most) - 1, most // 2), (0, 64)):
            monkeypatch.setattr(scores, "free_bytes", lambda _, room=room: room)
            assert token_budget(what, torch.device(device)) == tokens


def fp32(base: TinyBase) -> None:
    with scores.computing_in(base.model, torch.float32):
        assert {p.dtype for p in base.model.parameters()} == {torch.float32}


def test_fp32_that_is_told_not_to_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes and what there is."""
    base = tiny_base("llama")
    base.model.bfloat16()
    need = 4 * sum(p.numel() for p in base.model.parameters())
    monkeypatch.setattr(scores, "free_bytes", lambda _: need)
    with pytest.raises(NoRoom, match=r"in fp32 its weights take .* kB, and .* kB can be used on cpu"):
        fp32(base)
    monkeypatch.setattr(scores, "free_bytes", lambda _: need / 0.9)
    fp32(base)
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_fp32_that_does_not_fit_beside_16_bits_stands_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights wait aside meanwhile, one after another; their bits are those from before."""
    base = tiny_base("llama")
    base.model.bfloat16()
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    monkeypatch.setattr(scores, "_must_wait_aside", lambda *_: True)
    held = [p.data_ptr() for p in base.model.parameters()]
    monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)
    fp32(base)
    assert [p.data_ptr() for p in base.model.parameters()] != held
    assert all(torch.equal(p, before[name]) for name, p in base.model.named_parameters())
