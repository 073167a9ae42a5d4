"""Where the time goes: training and scoring on this machine, seconds by kind of work. `python -m perf.profile --help`.

Each is done twice: once timed alone, whose speed is set against the measured speed of a large matrix product, and once under torch's
profiler, whose seconds are split by kind. Scoring leaves tokenising out. With `--records` also, of finished runs, how much of their time
were optimiser steps or losses and scores that were asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AttentionInterface

from olora_bench import assets, inits
from olora_bench.config import Experiment, compose, load
from olora_bench.config.memory import token_budgets
from olora_bench.data import batch_order, benchmark_tasks, build_parts
from olora_bench.evaluation import Scorer, logprobs, tree_attention
from olora_bench.evaluation.trie import Plan
from olora_bench.models import load_base, torch_dtype
from olora_bench.models.memory import Budget
from olora_bench.process.hardware import resolve_precision
from olora_bench.process.provenance import provenance
from olora_bench.store import RunRecord, Store
from olora_bench.training.ceiling import matmul_flops_per_s, step_flops
from olora_bench.training.losses import Losses
from olora_bench.training.optimiser import Optimiser
from perf import results_file
from perf.eval import requests_of
from perf.tables import said

KINDS = ("matmul", "attention", "norms and activations", "adapter", "head", "allocator", "Python")
RANGES = {"_CausalAttention": "attention", "_Nll": "head", "_RmsNorm": "norms and activations", "_SwiGlu": "norms and activations"}
RANGES |= {f"{name}Backward": kind for name, kind in RANGES.items()} | {"attention": "attention", "head": "head"}
"""What is inside a range of this name is of this kind, forward and backward."""
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::mkldnn", "mkldnn::", "onednn::")
ALLOCATES = ("aten::empty", "aten::resize_", "aten::new_empty", "aten::zeros", "aten::zero_", "aten::new_zeros", "[memory]")
SHORT = 24
"""Runs of fewer steps are told apart."""
ASKED_FOR = ("optimise", "part_losses", "score", "generate", "flips")
"""Phases of a record's clock that are what a run was asked for; `train` holds the first two, and its own time beside them."""


def kind_of(event: Any, rank: int) -> str:
    """The kind of an operation of the profiler: by the ranges around it, its name, and of an adapter's product a side as long as `rank`."""
    around = event.cpu_parent
    while around is not None:
        if (kind := RANGES.get(around.name)) is not None:
            return kind
        around = around.cpu_parent
    if event.name in RANGES:
        return RANGES[event.name]
    if event.name.startswith(PRODUCTS):
        sides = {side for shape in event.input_shapes or () for side in shape if isinstance(side, int)}
        return "adapter" if rank in sides else "matmul"
    return "allocator" if event.name.startswith(ALLOCATES) else "norms and activations"


def seconds_by_kind(work: Callable[[], Any], rank: int, device: torch.device) -> dict[str, float]:
    """Seconds of `work` by kind: on a processor each operation's own, and as Python what is in none; on a GPU its kernels' own."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as seen:
        began = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
        whole = time.perf_counter() - began
    found = dict.fromkeys(KINDS, 0.0)
    for event in seen.events():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        found[kind_of(event, rank)] += own / 1e6
    found["Python"] += max(0.0, whole - sum(found.values()))
    return found


@contextmanager
def _scoring_ranges() -> Iterator[None]:
    """Names a scoring pass's attention and head for the profiler: neither is a function of autograd."""
    attend, head = tree_attention.tree_attention, logprobs.head_logprobs

    def named(name: str, inside: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            with record_function(name):
                return inside(*given, **more)

        return call

    AttentionInterface.register(tree_attention.NAME, named("attention", attend))
    logprobs.head_logprobs = named("head", head)
    try:
        yield
    finally:
        AttentionInterface.register(tree_attention.NAME, attend)
        logprobs.head_logprobs = head


class Profiled:
    """One base with an adapter, trained and scored."""

    def __init__(self, what: Experiment, steps: int, device: torch.device) -> None:
        self.what, self.steps = what, steps
        assert what.precision != "auto"
        self.paths = assets.fetch(what, assets.resolve(what))
        path = self.paths.get(f"model:{what.model.name}")
        self.base = load_base(what.model, path, torch_dtype(what.precision), device, what.machine.cache_dir)
        self.parts = build_parts(what, self.paths, self.base.tokenizer)
        self.adapted = inits.apply(self.base, what)
        self.budgets = token_budgets(what.machine, on_gpu=device.type == "cuda")

    def training(self) -> dict[str, Any]:
        """Steps of the recipe, and the part losses once."""
        base, what = self.base, self.what
        order = batch_order(len(self.parts.train), seed=0, steps=2 * self.steps + 1, batch_size=what.recipe.batch_size)
        losses = Losses(self.adapted, self.budgets[0], base.device)
        optimiser = Optimiser(self.adapted, what.recipe, len(order), base.device)

        def step(number: int) -> Any:
            return optimiser.step(number, [self.parts.train[i] for i in order[number - 1]], losses)

        step(1)
        done = [step(number) for number in range(2, self.steps + 2)]
        seconds, tokens = sum(one.seconds for one in done), sum(one.tokens for one in done)
        kinds = seconds_by_kind(lambda: [step(n) for n in range(self.steps + 2, len(order) + 1)], what.rank, base.device)
        flops = step_flops(base, self.adapted.parameters_trainable, tokens, sum(one.supervised for one in done))
        found = _summed_up(seconds, tokens, flops, matmul_flops_per_s(base), kinds)
        return found | {"losses_read_s": losses.of_parts(self.parts).seconds, "steps": self.steps}

    def one_step(self, examples: int) -> tuple[Callable[[], Any], int]:
        """A step on the first so many examples, to be done again and again, and its tokens."""
        batch, losses = self.parts.train[:examples], Losses(self.adapted, self.budgets[0], self.base.device)
        optimiser = Optimiser(self.adapted, self.what.recipe, 100, self.base.device)
        return lambda: optimiser.step(50, batch, losses), sum(len(example.input_ids) for example in batch)

    def scores(self, items: int) -> tuple[Callable[[], Any], Sequence[Plan]]:
        """Scoring of seeded items of each benchmark of the suite, zero-shot, through the adapter; and what is fed to the model."""
        benchmarks = {name: self.what.benchmarks[name] for name in self.what.suite.benchmarks}
        tasks = benchmark_tasks(benchmarks, self.paths, 0)
        asked = [request for name, task in tasks.items() for request in requests_of(task, name, items)]
        plans, _ = Scorer(self.adapted.model, self.base.tokenizer)._plans(asked)
        self.adapted.model.eval()
        budget = Budget(self.budgets[1], self.base.device)
        return lambda: logprobs.continuation_logprobs(self.adapted.model, plans, budget=budget), plans

    def scoring(self, items: int) -> dict[str, Any]:
        """What `scores` does, profiled."""
        score, plans = self.scores(items)
        score()
        began = time.perf_counter()
        score()
        seconds, tokens = time.perf_counter() - began, logprobs.token_count(plans)
        with _scoring_ranges():
            kinds = seconds_by_kind(score, self.what.rank, self.base.device)
        model, reads = self.base.config, sum(len(plan.read_targets) for plan in plans)
        body = model.layers * sum(out * inside for out, inside in model.shapes.values())
        flops = 2.0 * tokens * (body + self.adapted.parameters_trainable) + 2.0 * reads * model.vocab_size * model.hidden_size
        return _summed_up(seconds, tokens, flops, matmul_flops_per_s(self.base), kinds) | {"items": items}


def experiment(*overrides: str) -> Experiment:
    """A LoRA run on a processor or, by `machine.device`, a GPU, in the precision that it is best at; no tracker."""
    device = next((one.split("=")[1] for one in overrides if one.startswith("machine.device=")), "cpu")
    fixed = ("init=lora", "tracker=none", "lr=1e-3", f"precision={resolve_precision('auto', device)}", f"machine.device={device}")
    return load(compose([*fixed, *overrides]))


def _summed_up(seconds: float, tokens: int, flops: float, ceiling: float, kinds: dict[str, float]) -> dict[str, Any]:
    return {
        "seconds": seconds, "tokens_per_s": tokens / seconds, "share_of_ceiling": flops / seconds / ceiling, "ceiling_flops_per_s": ceiling,
        "profiled_seconds": sum(kinds.values()), "kinds": kinds,
    }  # fmt: skip


def asked_for(results: Path) -> dict[str, dict[str, float]]:
    """Of each finished run of a results folder, the share of its own phases that were optimiser steps or asked-for losses: the median run's
    and the least, of runs on processors and on GPUs, short ones apart, in which what a run pays once weighs more; scoring has a record of
    its own, all of which is asked for."""
    shares: dict[str, list[float]] = {}
    for run in Store(results).iter_runs():
        if isinstance(run, RunRecord) and run.status == "done" and run.attempts == 1:
            whole = sum(seconds for phase, seconds in run.timings_s.items() if phase not in ASKED_FOR)
            where = "GPUs" if run.provenance["hardware"]["gpus"] else "processors"
            where += f", in under {SHORT} steps" if run.steps < SHORT else ""
            shares.setdefault(where, []).append(sum(run.timings_s.get(phase, 0.0) for phase in ASKED_FOR) / whole)
    if not shares:
        raise SystemExit(f"{results}: there is no finished run")
    return {where: {"runs": len(some), "median": median(some), "least": min(some)} for where, some in sorted(shares.items())}


def main() -> int:
    """Print both profiles and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m_q4")
    parser.add_argument("--data", default="commonsense", help="alpaca needs the Hub or a local folder")
    parser.add_argument("--suite", default="commonsense6")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--items", type=int, default=20, help="of each benchmark")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--records", type=Path, default=None, help="a results folder")
    parser.add_argument("--out", type=Path, default=None, help="default: perf/results/profile_<processor>.json")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. machine.local_dir=DIR data=alpaca")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    what = experiment(
        f"model={options.model}", f"data={options.data}", f"suite={options.suite}", f"rank={options.rank}",
        f"machine.device={options.device}", *options.overrides,
    )  # fmt: skip
    one = Profiled(what, options.steps, torch.device(options.device))
    found: dict[str, Any] = {"training": one.training(), "scoring": one.scoring(options.items)}
    for name, part in found.items():
        print(text(name, part))
    if options.records is not None:
        found["asked_for"] = asked_for(options.records)
        print(said(found["asked_for"]))
    facts = provenance(assets=[], threads=options.threads, device=options.device, token_budget={"train": one.budgets[0]})
    asked = {key: getattr(options, key) for key in ("model", "data", "suite", "rank", "steps", "items")}
    out = options.out or results_file("profile", facts, options.device)
    out.write_text(json.dumps({"asked": asked, "provenance": facts, **found}, indent=1) + "\n")
    print(f"wrote {out}")
    return 0


def text(name: str, found: dict[str, Any]) -> str:
    """A profile in a line a kind, the largest first."""
    kinds = sorted(found["kinds"].items(), key=lambda pair: -pair[1])
    lines = [f"{name}: {found['tokens_per_s']:.0f} tokens/s, {found['share_of_ceiling']:.1%} of the measured matmul ceiling"]
    return "\n".join([*lines, *(f"  {kind:22} {own:8.3f} s {own / found['profiled_seconds']:6.1%}" for kind, own in kinds)])


if __name__ == "__main__":
    sys.exit(main())
