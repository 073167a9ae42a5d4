"""Scoring beside lm-eval's HFLM: the same model, items and dtype in one run. `python -m perf.eval --help`.

Per task, in turn: ours, then HFLM (`logits_cache` on, its default) at every batch size, of which the fastest counts. With `--pairs` above
1, ours and that batch size again in turn; what is held to is the median of the turns' ratios.
Each side tokenises anew, after a few requests to warm up. A line a task, a JSON file at the end.
Tokens computed are those that enter the model, padding included. Memory is the peak above what the loaded model takes.
Ends with 1 when a ratio that is held to is not reached; only on a processor that is fast in bf16 are they held to.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lm_eval.api.samplers import FirstNSampler
from lm_eval.models.huggingface import HFLM

from olora_bench import assets
from olora_bench.config import Suite, compose, load
from olora_bench.config.memory import token_budgets
from olora_bench.data import benchmark_tasks
from olora_bench.data.tasks import lm_eval_quietly
from olora_bench.evaluation import Scorer
from olora_bench.evaluation.prompts import _PLANS
from olora_bench.evaluation.scores import chosen_rows
from olora_bench.models import load_base, torch_dtype
from olora_bench.process.hardware import resolve_precision
from olora_bench.process.provenance import provenance
from olora_bench.training.memory import PeakMemory
from perf import medians, ratios, results_file, spread

ALL = {"0": 2.0, "5": 4.0}
"""Shots -> the least ratio HFLM/ours in seconds over all tasks."""
TASKS = {"0": {"arc_challenge": 2.5, "openbookqa": 2.5}}
LEAST, MEMORY = 1.0, 0.5
"""The least ratio of any task; the most memory, in HFLM's."""


def requests_of(task: Any, name: str, items: int) -> list[Any]:
    """lm-eval's own requests of the seeded items."""
    task.set_fewshot_seed(1234)
    with lm_eval_quietly():
        task.build_all_requests(samples=chosen_rows(Suite(name="perf", benchmarks=(name,), limit=items), name, len(task.eval_docs)))
    found = list(task.instances)
    task._instances = None
    return found


def measured(model: Any, device: torch.device, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result, and seconds by the clock and of all threads, tokens that entered the model, bytes above the start."""
    tokens = 0

    def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal tokens
        tokens += (kwargs["input_ids"] if "input_ids" in kwargs else args[0]).numel()

    gc.collect()
    if device.type == "cpu" and sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that the last measurement freed must not hide this one's
    hook = model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        with PeakMemory(device) as memory:
            start, busy = time.perf_counter(), time.process_time()
            result = work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
    finally:
        hook.remove()
    return result, {"seconds": seconds, "cpu_seconds": busy, "tokens": tokens, "bytes": memory.peak - memory.start}


def compare(requests: list[Any], ours: list[Any], theirs: list[Any]) -> dict[str, float]:
    """Largest difference of a log-likelihood, and items whose best choice differs (raw and by length), ties within it counted apart."""
    a, b = np.array([x for x, _ in ours]), np.array([x for x, _ in theirs])
    largest, other, ties = float(np.abs(a - b).max()), 0, 0
    by_item: dict[int, list[int]] = {}
    for i, request in enumerate(requests):
        by_item.setdefault(request.doc_id, []).append(i)
    for indices in by_item.values():
        lengths = np.array([max(1, len(requests[i].args[1].lstrip())) for i in indices])
        for scale in (np.ones(len(indices)), lengths):
            if np.argmax(a[indices] / scale) != np.argmax(b[indices] / scale):
                top = np.sort(b[indices] / scale)[::-1]
                tie = abs(top[0] - top[1]) <= 2 * largest
                other, ties = other + (not tie), ties + tie
    return {"largest_difference": largest, "other_predictions": other, "ties": int(ties)}


def main() -> int:
    """A line a task and one for all; 1 when one is not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m_q4")
    parser.add_argument(
        "--items", type=int, default=10, help="seeded items of each benchmark (200 for the full comparison, which takes hours on 2 cores)"
    )
    parser.add_argument("--few-shot-items", type=int, default=8, help="the same where there are examples in front")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--shots", default="0,5", help="5 is taken with first_n; 5r with lm-eval's own random sampler")
    parser.add_argument("--pairs", type=int, default=1, help="how often each side is measured, in turn")
    parser.add_argument("--batch-sizes", type=lambda sizes: [int(size) for size in sizes.split(",")], default=[8, 16, 32])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--token-budget", type=int, default=None, help="default: the config's machine.eval_token_budget")
    parser.add_argument("--benchmarks", default="")
    parser.add_argument("--out", type=Path, default=None, help="default: perf/results/eval_<processor>.json")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. machine.local_dir=DIR")
    asked = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    experiment = load(compose([f"model={asked.model}", "tracker=none", "machine.device=cpu", *asked.overrides]))
    found = assets.resolve(experiment)
    paths = assets.fetch(experiment, found)
    device = torch.device(asked.device)
    asked.token_budget = asked.token_budget or token_budgets(experiment.machine, on_gpu=device.type == "cuda")[1]
    names = tuple(asked.benchmarks.split(",")) if asked.benchmarks else experiment.suite.benchmarks
    table: list[dict[str, Any]] = []
    for dtype in asked.dtypes.split(","):
        path = paths.get(f"model:{asked.model}")  # a made-up model has none
        base = load_base(experiment.model, path, torch_dtype(dtype), device, experiment.machine.cache_dir)
        for shots in asked.shots.split(","):
            tasks = benchmark_tasks({name: experiment.benchmarks[name] for name in names}, paths, int(shots.rstrip("r")))
            rows = []
            for name in names:
                rows.append(one_task(name, tasks[name], base, shots, asked) | {"dtype": dtype, "shots": shots, "benchmark": name})
                print(line(rows[-1]), flush=True)
            rows.append(together(rows) | {"dtype": dtype, "shots": shots, "benchmark": "all"})
            print(line(rows[-1]), flush=True)
            table += rows
        del base
    _write(table, asked)
    held_to = device.type == "cpu" and resolve_precision("auto", "cpu") == "bf16"
    return int(held_to and any(misses(row) for row in table))


def _write(table: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    facts = provenance(assets=[], threads=torch.get_num_threads(), device=asked.device, token_budget={"eval": asked.token_budget})
    out = asked.out or results_file("eval", facts, asked.device)
    found = {key: getattr(asked, key) for key in ("items", "few_shot_items", "batch_sizes")}
    out.write_text(json.dumps(found | {"provenance": facts, "table": table}, indent=1, default=str) + "\n")
    print(f"wrote {out}")


def faster(row: dict[str, Any], key: str = "seconds") -> list[float]:
    """HFLM's by ours, of each turn."""
    return ratios(row["pairs"], "hflm", "ours", key)


def misses(row: dict[str, Any]) -> list[str]:
    """What is held to and not reached in a row of the table."""
    name, shots = row["benchmark"], row["shots"]
    least = ALL.get(shots, LEAST) if name == "all" else TASKS.get(shots, {}).get(name, LEAST)
    found = [f"at least {least:g}x"] if median(faster(row)) < least else []
    return found + ([f"memory at most {MEMORY:g}"] if 1 / median(faster(row, "bytes")) > MEMORY else [])


def one_task(name: str, task: Any, base: Any, shots: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Ours and theirs on one task."""
    if shots == "5":
        task.sampler = FirstNSampler(list(task.fewshot_docs()), rnd=1234)
    requests = requests_of(task, name, asked.items if shots == "0" else asked.few_shot_items)
    ours, our_cost = _ours(base, requests, asked)
    theirs: dict[int, dict[str, float]] = {}
    for size in asked.batch_sizes:
        if not any(len(requests) <= done for done in theirs):  # else the same batch again
            answers, theirs[size] = _hflm(base, requests, size)
    best = min(theirs, key=lambda size: theirs[size]["seconds"])
    pairs = [{"ours": our_cost, "hflm": theirs[best]}]
    pairs += [{"ours": _ours(base, requests, asked)[1], "hflm": _hflm(base, requests, best)[1]} for _ in range(asked.pairs - 1)]
    return {"requests": len(requests), "pairs": pairs, "hflm_batch_size": best, "hflm_all": theirs} | compare(requests, ours, answers)


def _ours(base: Any, requests: list[Any], asked: argparse.Namespace) -> tuple[list[Any], dict[str, float]]:
    def scorer() -> Scorer:
        return Scorer(base.model, base.tokenizer, device=base.device, token_budget=asked.token_budget)

    scorer().loglikelihood(requests[: max(asked.batch_sizes)])  # to warm up
    _PLANS.clear()
    found: tuple[list[Any], dict[str, float]] = measured(base.model, base.device, lambda: scorer().loglikelihood(requests))
    return found


def _hflm(base: Any, requests: list[Any], size: int) -> tuple[list[Any], dict[str, float]]:
    hflm = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=size, device=str(base.device))
    hflm.loglikelihood(requests[:size], disable_tqdm=True)
    found: tuple[list[Any], dict[str, float]] = measured(base.model, base.device, lambda: hflm.loglikelihood(requests, disable_tqdm=True))
    return found


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All tasks: seconds and tokens of each turn added, the highest peak."""
    whole: dict[str, Any] = {"requests": sum(r["requests"] for r in rows), "hflm_batch_size": "best"}
    turns = zip(*(row["pairs"] for row in rows), strict=True)
    whole["pairs"] = [{side: _added([pair[side] for pair in turn]) for side in ("ours", "hflm")} for turn in turns]
    whole["largest_difference"] = max(r["largest_difference"] for r in rows)
    return whole | {k: sum(r[k] for r in rows) for k in ("other_predictions", "ties")}


def _added(costs: list[dict[str, float]]) -> dict[str, float]:
    return {k: sum(one[k] for one in costs) for k in ("seconds", "cpu_seconds", "tokens")} | {"bytes": max(one["bytes"] for one in costs)}


def line(row: dict[str, Any]) -> str:
    """A row of the table as it is printed."""
    ours, hflm = (medians([pair[side] for pair in row["pairs"]]) for side in ("ours", "hflm"))
    return (
        f"{row['dtype']} {row['shots']}-shot {row['benchmark']:14} ours {ours['seconds']:7.2f}s {ours['tokens']:7.0f} tokens "
        f"{ours['bytes'] / 2**20:6.0f} MiB | HFLM({row['hflm_batch_size']}) {hflm['seconds']:7.2f}s {hflm['tokens']:7.0f} tokens "
        f"{hflm['bytes'] / 2**20:6.0f} MiB | "
        f"{spread(faster(row))}x, {spread(faster(row, 'cpu_seconds'))}x in CPU seconds, "
        f"difference {row['largest_difference']:.1e}, "
        f"{row['other_predictions']} other predictions, {row['ties']} ties"
        + (f"  NOT HELD: {', '.join(misses(row))}" if misses(row) else "")
    )


if __name__ == "__main__":
    sys.exit(main())
