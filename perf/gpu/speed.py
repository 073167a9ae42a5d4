"""Steps that measure: the GPU's health, OLoRA's init beside PEFT's, training and scoring beside the usual tools, a study's next runs."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from olora_bench.config.memory import training_memory
from olora_bench.data import batch_order
from olora_bench.evaluation import Scorer, token_budget
from olora_bench.training.memory import PeakMemory
from perf import init
from perf import train as perf_train
from perf.eval import measured
from perf.gpu import Asked, Skipped
from perf.gpu.made_up import adapted, experiment, large, parts, requests

STEPS = {"tinyllama": 30, "llama2_7b": 12}
WARMUP, BATCH = 3, 16  # `perf.train` gives the other sides batches of 16
ITEMS = 400
MOST_OF_ESTIMATE = 1.1
"""Of the memory that was told beforehand, at most so much is taken."""


def health(asked: Asked) -> dict[str, Any]:
    """A large bf16 product in TFLOP/s, and a copy on the device in GB/s, read and written."""
    size, count = (256, 1 << 20) if asked.tiny else (8192, 1 << 30)
    left, right = (torch.randn(size, size, device=asked.device).bfloat16() for _ in range(2))
    block = torch.empty(count, dtype=torch.uint8, device=asked.device)
    product, copy = _seconds(lambda: left @ right, asked), _seconds(block.clone, asked)
    name = torch.cuda.get_device_name() if asked.on_gpu else "processor"
    return {"device": name, "tflop_per_s": 2 * size**3 / product / 1e12, "gb_per_s": 2 * count / copy / 1e9}


def _seconds(work: Callable[[], Any], asked: Asked, repeats: int = 10) -> float:
    for _ in range(3):
        work()
    _wait(asked)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(asked)
    return (time.perf_counter() - began) / repeats


def _wait(asked: Asked) -> None:
    if asked.on_gpu:
        torch.cuda.synchronize()


def olora(asked: Asked) -> dict[str, Any]:
    """The product of OLoRA's factors and the residual, ours beside PEFT's on the same weights, and the seconds of both."""
    device, found = torch.device(asked.device), {}
    for shape in [(96, 64)] if asked.tiny else [(4096, 4096), (11008, 4096)]:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        theirs, ours = init.layer_of(weight.clone()), init.layer_of(weight.clone())
        init.peft(theirs)
        init.ours(ours)
        with torch.no_grad():
            kept = [layer.get_base_layer().weight for layer in (ours, theirs)]
            apart = float((kept[0] - kept[1]).norm() / kept[1].norm())
        peft_s, ours_s = init.times(shape, device, 1)
        found["x".join(map(str, shape))] = {"residual": apart, "peft_s": peft_s, "ours_s": ours_s}
    return {"held": all(row["residual"] <= 1e-4 for row in found.values()), "shapes": found}


def train_1b(asked: Asked) -> dict[str, Any]:
    """TinyLlama's shapes."""
    return _trained(asked, "tinyllama")


def train_7b(asked: Asked) -> dict[str, Any]:
    """Llama-2-7B's shapes."""
    return _trained(asked, "llama2_7b")


def _trained(asked: Asked, model: str) -> dict[str, Any]:
    """Examples a second and memory of ours, transformers' Trainer and TRL, and ours beside what was told."""
    steps, warmup = (3, 1) if asked.tiny else (STEPS[model], WARMUP)
    name = "tiny_tinyllama" if asked.tiny else model
    rank = 8 if asked.tiny else 32
    what = experiment(asked, name, f"recipe.steps={steps}", f"rank={rank}")
    base, found = large(asked, what), dict[str, Any]()
    one, data = adapted(base, what), parts(steps, BATCH, longest=32 if asked.tiny else 256)
    options = argparse.Namespace(steps=steps, warmup=warmup, device=asked.device)
    as_they_come = [data.train[i] for i in range(steps * BATCH)]
    sides: dict[str, Callable[[perf_train.Speed], Any]] = {
        "ours": lambda speed: perf_train._ours("ours", what, data, one, base.device, speed),
        "transformers": lambda speed: perf_train._transformers(as_they_come, one.model, base.tokenizer, what, options, speed),
        "trl": lambda speed: perf_train._trl("trl", as_they_come, one.model, base.tokenizer, what, options, speed),
    }
    for side, work in sides.items():
        found[side] = _side(work, perf_train.Speed(warmup), asked, (steps - warmup) * BATCH)
    order = batch_order(len(data.train), seed=what.seed, steps=steps, batch_size=BATCH)
    tokens = max(sum(len(data.train[i].input_ids) for i in batch) for batch in order)  # a plan takes all examples to be `data.cutoff` long
    told, took = training_memory(what, on_gpu=asked.on_gpu, token_budget=tokens).above_base, found["ours"].get("peak_above_model_bytes", 0)
    found["memory"] = {"told": told, "took": took, "base": base.size_bytes, "largest_batch_tokens": tokens}
    faster = all(found["ours"].get("examples_per_s", 0) >= row.get("examples_per_s", 0) for row in found.values())
    return {"held": asked.tiny or (faster and took <= MOST_OF_ESTIMATE * told), **found}


def _side(work: Callable[[perf_train.Speed], Any], speed: perf_train.Speed, asked: Asked, timed: int) -> dict[str, Any]:
    """One side's speed and memory; why there is none, where its package is not here or does not run."""
    gc.collect()
    if asked.on_gpu:
        torch.cuda.empty_cache()
    try:
        with PeakMemory(torch.device(asked.device)) as memory:
            work(speed)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "examples_per_s": timed / speed.seconds, "seconds": speed.seconds, "cpu_seconds": speed.cpu_seconds, "steps": len(speed.losses),
        "peak_above_model_bytes": memory.peak - memory.start,
        "first_loss": speed.losses[0], "last_loss": speed.losses[-1],
    }  # fmt: skip


def score_1b(asked: Asked) -> dict[str, Any]:
    """TinyLlama's shapes."""
    return _scored(asked, "tinyllama")


def score_7b(asked: Asked) -> dict[str, Any]:
    """Llama-2-7B's shapes."""
    return _scored(asked, "llama2_7b")


def _scored(asked: Asked, model: str) -> dict[str, Any]:
    """Seconds and memory of ours and of HFLM at its fastest batch size, on items of four choices."""
    what = experiment(asked, "tiny_tinyllama" if asked.tiny else model)
    base, device = large(asked, what), torch.device(asked.device)
    made = requests(6 if asked.tiny else ITEMS, letters=20 if asked.tiny else 100)
    budget = token_budget(what, device)
    scorer = Scorer(base.model, base.tokenizer, device=device, token_budget=budget)
    scorer.loglikelihood(made[:32])
    ours, cost = measured(base.model, device, lambda: scorer.loglikelihood(made))
    found, theirs = {"ours": cost, "budget": scorer.budget.tokens}, {}
    for size in (4,) if asked.tiny else (32, 64, 128):
        hflm = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=size, device=str(device))
        hflm.loglikelihood(made[:size], disable_tqdm=True)
        answers, theirs[size] = measured(base.model, device, lambda h=hflm: h.loglikelihood(made, disable_tqdm=True))
    best = min(theirs, key=lambda size: theirs[size]["seconds"])
    apart = np.abs(np.array([a for a, _ in ours]) - np.array([b for b, _ in answers]))
    found |= {"hflm": theirs[best], "hflm_batch_size": best, "mean_difference": float(apart.mean())}
    return {"held": asked.tiny or cost["seconds"] <= theirs[best]["seconds"], **found}


def study(asked: Asked) -> dict[str, Any]:
    """The next runs of a study, for as long as there is time: that of OLORA_BENCH_GPU_STUDY, else the rehearsal's tiny models; asked to
    stop before the end, so that the same command goes on from there."""
    name = os.environ.get("OLORA_BENCH_GPU_STUDY", "rehearsal")
    results = os.environ.get("OLORA_BENCH_RESULTS", f"{asked.folder}/results")
    command = [sys.executable, "-m", "olora_bench.study", "run", name, f"machine.device={asked.device}", f"machine.results_dir={results}"]
    if asked.tiny:
        raise Skipped("the rehearsal has a test of its own")
    # Its packages are this process's, those of --wheels among them.
    where = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = subprocess.Popen(command, env={**os.environ, **where}, cwd=Path(__file__).parents[2], start_new_session=True)
    try:
        code = running.wait(max(1.0, asked.seconds - 20))
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGTERM)
        code = running.wait(15)
        return {"stopped": True, "exit_code": code, "records": _records(results)}
    return {"held": code == 0, "exit_code": code, "records": _records(results)}


def _records(results: str) -> int:
    return len(list(Path(results).glob("runs/*/record.json")))
