"""The loop, against one written out with transformers and torch, and against itself."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import get_scheduler

from olora_bench.config import Experiment
from olora_bench.config.memory import training_memory
from olora_bench.data import Example, Parts, batch_order
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted
from olora_bench.process.allocator import keep_freed_memory
from olora_bench.training import TrainResult, loss_schedule, train
from olora_bench.training.losses import Losses
from olora_bench.training.memory import PeakMemory

Make = Callable[..., Experiment]
Adapt = Callable[..., Adapted]
CPU = torch.device("cpu")


def run(adapt: Adapt, parts: Parts, what: Experiment, dtype: torch.dtype = torch.float32, **options: Any) -> TrainResult:
    return train(adapt(what, dtype), parts, what, device=CPU, **options)


def measured(result: TrainResult) -> pd.DataFrame:
    return result.curve.drop(columns="wall_s")


def row_loss(model: torch.nn.Module, example: Example) -> tuple[torch.Tensor, int]:
    """Sum and number of one example's token losses, by transformers' own forward with labels."""
    ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
    labels = ids.masked_fill(~torch.from_numpy(example.supervised)[None], -100)
    count = int(example.supervised[1:].sum())
    return model(input_ids=ids, labels=labels).loss * count, count


def mean_loss(model: torch.nn.Module, examples: list[Example]) -> torch.Tensor:
    sums, counts = zip(*(row_loss(model, example) for example in examples), strict=True)
    return torch.stack(sums).sum() / sum(counts)


@pytest.mark.parametrize(
    ("model", "init", "schedule"),
    [
        ("tiny_tinyllama", "lora", "linear"),
        ("tiny_tinyllama", "olora", "cosine"),
        ("tiny_opt_1.3b", "lora", "constant"),
        ("tiny_opt_1.3b", "olora", "linear"),
        ("tiny_gemma_2b", "olora_plus", "linear"),
        ("tiny_mistral_7b", "lora_plus", "cosine"),
    ],
)
def test_same_curve_as_a_loop_written_out(model: str, init: str, schedule: str, experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """Losses, gradient norms, rates and part losses of every step equal those of a plain transformers and torch loop, one example at a
    time, with transformers' own schedules and, where the init asks for LoRA+'s rates, PEFT's own optimiser groups."""
    what = experiment(
        f"model={model}", f"init={init}", "recipe.warmup_steps=3", "recipe.max_grad_norm=0.05", "recipe.weight_decay=0.01",
        f"recipe.schedule={schedule}", "machine.train_token_budget=100",
    )  # fmt: skip
    result = run(adapt, parts, what)

    adapted = adapt(what)
    params = [p for p in adapted.model.parameters() if p.requires_grad]
    options: dict[str, Any] = {"lr": what.lr, "betas": what.recipe.betas, "eps": what.recipe.eps, "weight_decay": 0.01, "fused": False}
    if what.init.lr_ratio == 1:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(params, **options)
    else:
        optimizer = create_loraplus_optimizer(
            adapted.model, torch.optim.AdamW, loraplus_lr_ratio=what.init.lr_ratio, loraplus_weight_decay=0.01, **options
        )
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=12)
    rows = []
    for picked in batch_order(len(parts.train), seed=what.seed, steps=12, batch_size=8):
        loss = mean_loss(adapted.model, [parts.train[i] for i in picked])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 0.05)
        rows.append((loss.item(), optimizer.param_groups[0]["lr"], norm.item()))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(result.curve[["train_loss", "lr", "grad_norm"]].to_numpy()[1:], rows, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert result.metrics["report_loss"] == pytest.approx(mean_loss(adapted.model, parts.report).item(), abs=1e-5)
        gold = -sum(row_loss(adapted.model, e)[0].item() for e in parts.report) / len(parts.report)
        assert result.metrics["report_gold_logprob"] == pytest.approx(gold, abs=1e-3)
        known = {("report", e.group, e.id): row_loss(adapted.model, e) for e in parts.report}
        known |= {("tune", e.group, e.id): row_loss(adapted.model, e) for e in parts.tune}
    assert result.examples is not None and len(result.examples) == len(known)
    for part, group, name, total, tokens in result.examples.itertuples(index=False):
        assert (total, tokens) == (pytest.approx(known[part, group, name][0].item(), rel=1e-4), known[part, group, name][1])
    assert result.clipped_step_share == sum(norm > 0.05 for *_, norm in rows) / 12 > 0


def test_the_curve_has_a_row_a_step_and_losses_where_they_are_scheduled(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    curve = run(adapt, parts, experiment("recipe.loss_evaluations=5")).curve
    assert curve["step"].tolist() == list(range(13))
    evaluated = curve.loc[curve["report_loss"].notna(), "step"].tolist()
    assert evaluated == curve.loc[curve["tune_loss"].notna(), "step"].tolist() == loss_schedule(12, 5) == [0, 1, 3, 7, 12]
    assert math.isnan(curve["train_loss"][0])


def test_the_curve_counts_the_tokens_that_were_fed(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    result = run(adapt, parts, experiment("recipe.loss_evaluations=5"))
    curve = result.curve
    order = batch_order(len(parts.train), seed=0, steps=12, batch_size=8)
    fed = np.cumsum([sum(len(parts.train[i].input_ids) for i in batch) for batch in order])
    assert curve["tokens"].tolist() == [0, *fed]
    assert curve["wall_s"].is_monotonic_increasing
    assert result.tokens_per_s == pytest.approx(result.tokens / curve["wall_s"][12])


def test_rows_are_passed_on_as_they_come(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    rows: list[dict[str, Any]] = []
    curve = run(adapt, parts, experiment("recipe.loss_evaluations=5"), on_row=rows.append).curve
    assert rows[0]["train_loss"] is None
    pd.testing.assert_frame_equal(pd.DataFrame(rows).astype(curve.dtypes.to_dict()), curve)


def test_a_result_names_the_first_and_the_last_losses_of_its_curve(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    what = experiment("recipe.loss_evaluations=5")
    result = run(adapt, parts, what)
    assert (result.status, result.error, result.steps, result.missing) == ("done", None, 12, {})
    assert result.metrics["tune_loss_start"] == result.curve["tune_loss"][0]
    assert result.metrics["tune_loss"] == result.curve["tune_loss"][12]
    assert set(result.metrics) == {f"{p}_{k}{s}" for p in ("tune", "report") for k in ("loss", "gold_logprob") for s in ("_start", "")}
    assert result.base_bytes == what.model.parameters * 4


def test_training_lowers_the_loss_of_what_it_sees(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """Thirty steps on the report part itself lower its loss."""
    what = experiment("recipe.steps=30", "lr=3e-2", "init=olora", "recipe.warmup_steps=0")
    result = run(adapt, replace(parts, train=parts.report), what)
    assert result.metrics["report_loss"] < result.metrics["report_loss_start"] - 0.05


def test_twice_is_the_same_bit_for_bit(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """With dropout and a bf16 base too, and whatever was drawn before; the process's generator stays where it was."""
    torch.set_num_threads(2)
    what = experiment("recipe.dropout=0.2")
    first = run(adapt, parts, what, torch.bfloat16)
    torch.rand(3)
    state = torch.random.get_rng_state()
    second = run(adapt, parts, what, torch.bfloat16)
    assert torch.equal(torch.random.get_rng_state(), state)
    pd.testing.assert_frame_equal(measured(first), measured(second), check_exact=True)
    assert first.metrics == second.metrics


def test_another_seed_is_another_order(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """Also for OLoRA, whose adapter does not hang on the seed: other batches, the same parts."""
    results = [run(adapt, parts, experiment("init=olora", f"seed={seed}")) for seed in (0, 1)]
    assert results[0].curve["tokens"].tolist() != results[1].curve["tokens"].tolist()
    assert results[0].metrics["report_loss_start"] == results[1].metrics["report_loss_start"]


def test_arms_share_the_data_order(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """LoRA and OLoRA of one seed see the same batches, so they are paired."""
    lora, olora = (run(adapt, parts, experiment(f"init={init}")) for init in ("lora", "olora"))
    assert lora.curve["tokens"].tolist() == olora.curve["tokens"].tolist()
    assert lora.curve["train_loss"][1] == pytest.approx(olora.curve["train_loss"][1], abs=1e-4)


def test_gradient_does_not_hang_on_the_token_budget(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """One pass, a few, or one an example: the same loss and gradient within 1e-5."""
    what = experiment("init=olora")
    found = []
    for budget in (10_000, 200, 64):
        adapted = adapt(what)
        loss = Losses(adapted, budget, CPU).gradient(parts.train[:16], torch.amp.GradScaler("cpu", enabled=False))
        gradient = torch.cat([p.grad.flatten() for p in adapted.param_groups[0]["params"]])
        found.append((loss.item(), gradient))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-5)
        torch.testing.assert_close(gradient, found[0][1], atol=1e-5, rtol=0)


def test_groups_follow_their_own_peaks(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """An init may ask for groups with learning rates of their own: at a peak of 0 nothing moves, and the curve shows the first group's."""
    what = experiment()
    adapted = adapt(what)
    still = [p for n, p in adapted.model.named_parameters() if "lora_B" in n]
    moving = [p for n, p in adapted.model.named_parameters() if "lora_A" in n]
    torch.nn.init.constant_(still[0], 0.01)
    before = [p.detach().clone() for p in still + moving]
    groups = [{"params": moving, "lr": 4e-3}, {"params": still, "lr": 0.0}]
    result = train(replace(adapted, param_groups=groups), parts, what, device=CPU)
    same = [torch.equal(p, b) for p, b in zip(still + moving, before, strict=True)]
    assert same[: len(still)] == [True] * len(still)
    assert not same[len(still)]
    assert result.curve["lr"].max() == 4e-3
    assert groups == [{"params": moving, "lr": 4e-3}, {"params": still, "lr": 0.0}]


def check_diverged(result: TrainResult, reason: str) -> None:
    assert result.status == "diverged"
    assert result.error is not None
    assert reason in result.error
    assert result.curve["step"].tolist() == list(range(result.steps + 1))
    assert result.metrics["report_loss"] is None
    assert result.metrics["report_loss_start"] is not None
    assert result.missing["metrics.report_loss"] == f"diverged: {result.error}"
    assert result.examples is None


def test_divergence_to_nan_keeps_the_curve(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """A learning rate that overflows ends the run as diverged, with its curve up to there and reasons for what is missing."""
    result = run(adapt, parts, experiment("lr=1e38", "recipe.warmup_steps=0"))
    check_diverged(result, "is nan")
    assert result.steps < 12


def test_divergence_to_a_plateau_stops_the_run(experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the first loss from step 2 on: the mean over 20 steps passes 1.5 times the first at step 20, the run ends 19 later."""
    steps = iter(range(60))
    monkeypatch.setattr(Losses, "gradient", lambda *_: torch.tensor(6.0 if next(steps) == 0 else 12.0))
    result = run(adapt, parts, experiment("recipe.steps=60", "lr=1e-9"))
    check_diverged(result, "above 1.5 x the first (6) for 20 steps up to step 39")
    assert result.steps == 39


def test_bf16_base_trains_close_to_fp32(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """The same run on a bf16 base: train losses within 2% of fp32's."""
    curves = [run(adapt, parts, experiment(), dtype).curve["train_loss"][1:] for dtype in (torch.float32, torch.bfloat16)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.02)


def test_batch_without_supervised_token_is_bad_input(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """No loss is defined, and the message says what to raise."""
    empty = [replace(e, supervised=np.zeros_like(e.supervised)) for e in parts.train]
    with pytest.raises(BadInput, match=r"no supervised token is left in 8 examples \(0-\d+, \.\.\.\): raise data\.cutoff"):
        run(adapt, replace(parts, train=empty), experiment())


def test_a_late_batch_without_supervised_token_is_refused_before_the_first(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """One batch of the third epoch alone: nothing is trained, no row is told."""
    what = experiment()
    bad = set(batch_order(len(parts.train), seed=what.seed, steps=12, batch_size=8)[10].tolist())
    mixed = [replace(e, supervised=np.zeros_like(e.supervised)) if i in bad else e for i, e in enumerate(parts.train)]
    told: list[dict[str, Any]] = []
    with pytest.raises(BadInput, match="no supervised token is left in 8 examples"):
        run(adapt, replace(parts, train=mixed), what, on_row=told.append)
    assert told == []


def test_short_memory_lowers_the_budget(
    experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Room for a quarter of the budget: that is taken, said and recorded, and the curve is the same."""
    what = experiment("machine.train_token_budget=2048", "recipe.batch_size=64")
    room = training_memory(what, on_gpu=False, token_budget=512).above_base
    monkeypatch.setattr("olora_bench.training.loop.free_bytes", lambda device: room)
    result = run(adapt, parts, what)
    assert result.cost["token_budget"] == 512
    assert "so 512 tokens at a time instead of 2048" in "".join(capsys.readouterr())
    monkeypatch.undo()
    np.testing.assert_allclose(result.curve["train_loss"], run(adapt, parts, what).curve["train_loss"], atol=1e-5)


def test_too_little_memory_is_refused_before_a_step(experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even 64 tokens at a time fit: what is needed, what is there, what to do."""
    monkeypatch.setattr("olora_bench.training.loop.free_bytes", lambda device: 1000)
    with pytest.raises(BadInput, match=r"tiny_tinyllama at rank 4 needs about .* 64 tokens at a time, and 1\.0 kB are free on cpu"):
        run(adapt, parts, experiment())


def test_out_of_memory_halves_the_budget_and_goes_on(experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's error in the middle of a batch: the batch again with half the budget, gradients of the first try forgotten."""
    what = experiment("machine.train_token_budget=128")
    reference = run(adapt, parts, what)
    passes = iter(range(10_000))
    real = Losses._sums

    def failing(self: Losses, examples: list[Example]) -> Any:
        for nll in real(self, examples):
            yield nll
            if torch.is_grad_enabled() and next(passes) == 5:  # a part of the gradient is there already
                raise torch.OutOfMemoryError("on purpose")

    monkeypatch.setattr(Losses, "_sums", failing)
    result = run(adapt, parts, what)
    assert result.cost["token_budget"] == 64
    np.testing.assert_allclose(result.curve["train_loss"], reference.curve["train_loss"], atol=1e-5)


def test_what_a_run_costs(experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """Supervised tokens a second, and a share of the measured ceiling that is above 0 and below 1."""
    result = run(adapt, parts, experiment())
    order = batch_order(len(parts.train), seed=0, steps=12, batch_size=8)
    counted = sum(int(parts.train[i].supervised[1:].sum()) for batch in order for i in batch)
    assert result.cost["supervised_tokens_per_s"] == pytest.approx(counted / result.curve["wall_s"][12])
    assert 0 < result.cost["flops_utilisation"] < 1
    assert result.cost["matmul_flops_per_s"] > 1e6


def test_peak_memory_sees_what_was_held() -> None:
    """A quarter of a gigabyte, held for a moment and given back, shows in the peak."""
    with PeakMemory(CPU) as memory:
        held = torch.ones(64 * 1024 * 1024)
        held += 1
        time.sleep(0.1)
        del held
    assert 200e6 < memory.peak - memory.start < 500e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc keeps freed memory for us")
def test_memory_kept_from_an_earlier_run_hides_nothing() -> None:
    """The second of two like stretches of work shows the same peak, though the process kept what the first one freed."""
    assert keep_freed_memory()
    peaks = []
    for _ in range(2):
        with PeakMemory(CPU) as memory:
            held = [torch.ones(1024 * 1024) for _ in range(50)]
            time.sleep(0.1)
            del held
        peaks.append(memory.peak - memory.start)
    assert min(peaks) > 190e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gpu_trains_close_to_the_cpu(dtype: torch.dtype, experiment: Make, adapt: Adapt, parts: Parts) -> None:
    """On a GPU in 16 bits (fp16 with loss scaling): train losses within 2% of fp32 on the CPU, and memory is measured."""
    what = experiment("recipe.steps=30")
    reference = run(adapt, parts, what).curve["train_loss"][1:]
    result = train(adapt(what, dtype, "cuda"), parts, what, device=torch.device("cuda"))
    np.testing.assert_allclose(result.curve["train_loss"][1:], reference, rtol=0.02)
    assert result.peak_above_base_bytes > 0


def test_reading_less_trains_the_same_adapter(adapt: Adapt, parts: Parts, experiment: Make) -> None:
    """What is left out is only what is read: the last losses that are read are those of a run that reads everything, bit for bit."""
    whole, final, tune = (run(adapt, parts, experiment(f"recipe.read={read}")) for read in ("everything", "final", "tune"))
    ends = {name: value for name, value in whole.metrics.items() if not name.endswith("_start")}
    assert {name: value for name, value in final.metrics.items() if value is not None} == ends
    assert {name: value for name, value in tune.metrics.items() if value is not None} == {k: v for k, v in ends.items() if "tune" in k}
    assert all(result.curve["train_loss"].equals(whole.curve["train_loss"]) for result in (final, tune))
    read = [[int(result.curve[part].notna().sum()) for part in ("tune_loss", "report_loss")] for result in (whole, final, tune)]
    assert read == [[13, 13], [1, 1], [1, 0]]
    assert set(tune.examples["part"]) == {"tune"} and final.examples.equals(whole.examples)
    assert whole.missing == {} and tune.missing["metrics.report_loss"] == "not read: recipe.read=tune"
    assert set(final.missing) == {f"metrics.{name}_start" for name in ends}
