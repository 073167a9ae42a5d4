"""Where a GPU's host spends its time: beside seconds by the clock those of kernels, and the operations that take the host longest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from olora_bench.config.memory import token_budgets
from olora_bench.evaluation import Scorer, token_budget
from olora_bench.evaluation.prompts import _PLANS
from olora_bench.training.losses import Losses
from olora_bench.training.optimiser import Optimiser
from perf.gpu import Asked
from perf.gpu.made_up import adapted, examples, experiment, large, requests

BATCHES, SHOWN = 8, 15


def host_1b(asked: Asked) -> dict[str, Any]:
    """Of a training step and of a scoring pass of TinyLlama's shapes, the second time that each shape is met."""
    what = experiment(asked, "tiny_tinyllama" if asked.tiny else "tinyllama", f"rank={8 if asked.tiny else 32}")
    base = large(asked, what)
    scorer = Scorer(base.model, base.tokenizer, device=base.device, token_budget=token_budget(what, base.device))
    made = requests(6 if asked.tiny else 400, letters=100)
    scoring = _where(lambda: scorer.loglikelihood(made), asked, 1)
    _PLANS.clear()
    began = time.perf_counter()
    scorer._plans(made)
    scoring["planning_ms"] = 1e3 * (time.perf_counter() - began)
    one = adapted(base, what)
    losses = Losses(one, token_budgets(what.machine, on_gpu=asked.on_gpu)[0], base.device)
    optimiser = Optimiser(one, what.recipe, 1000, base.device)
    batches = [examples(16, seed, longest=32 if asked.tiny else 256) for seed in range(2 if asked.tiny else BATCHES)]

    def steps() -> None:
        for number, batch in enumerate(batches, 1):
            optimiser.step(number, batch, losses)

    return {"training_step": _where(steps, asked, len(batches)), "scoring": scoring}


def _where(work: Callable[[], Any], asked: Asked, parts: int) -> dict[str, Any]:
    """Milliseconds of a part of the work, by the clock, of all threads and of kernels; kernels; the host's operations that take longest,
    each with how many there are and its own milliseconds, which the profiler lengthens."""
    seconds = [_timed(work, asked) for _ in range(3)]
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if asked.on_gpu else [])]
    with profile(activities=kinds, acc_events=True) as seen:
        _timed(work, asked)
    table = seen.key_averages()
    device = [row for row in table if row.device_type != torch.autograd.DeviceType.CPU]
    longest = sorted(table, key=lambda row: -row.self_cpu_time_total)[:SHOWN]
    return {
        "ms": 1e3 * seconds[-1][0] / parts, "cpu_ms": 1e3 * seconds[-1][1] / parts, "first_ms": 1e3 * seconds[0][0] / parts,
        "kernel_ms": sum(row.self_device_time_total for row in device) / 1e3 / parts, "kernels": sum(row.count for row in device) / parts,
        "host": {row.key: [row.count / parts, row.self_cpu_time_total / 1e3 / parts] for row in longest},
        "device": {
            row.key[:60]: [row.count / parts, row.self_device_time_total / 1e3 / parts]
            for row in sorted(device, key=lambda row: -row.self_device_time_total)[:SHOWN]
        },
    }  # fmt: skip


def _timed(work: Callable[[], Any], asked: Asked) -> tuple[float, float]:
    began = time.perf_counter(), time.process_time()
    work()
    if asked.on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began[0], time.process_time() - began[1]
