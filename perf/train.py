"""Training speed and memory beside TRL's SFTTrainer and transformers' Trainer. `python -m perf.train --help`.

All train the same LoRA (rank 32, alpha 16, q_proj and v_proj, AdamW, linear schedule, clip 1) on the same examples of one data set,
tokenised once by us, with the loss on the same supervised tokens. In every setting but TRL's packing the optimiser batches hold the same
examples in the same order, so losses can be compared. Each side runs in a process of its own, one after the other, `--pairs` times in
turn, with bf16 where the hardware is fast at it (theirs by `bf16=True`, weights in bf16 as ours); what is held to is the median of the
turns' ratios. Start-up and the first steps (`--warmup`) are left out of speed; memory is the peak of the process above its level with the
model loaded. TRL's packing fills rows of `cutoff` tokens by its own rules and so redefines what a batch is: supervised tokens a second
are what can be compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from olora_bench.config import Experiment, compose, load
from olora_bench.process.hardware import resolve_precision
from perf import ratios, results_file, spread

SIDES = ("ours", "ours_compiled", "ours_checkpointing", "trl", "trl_packing", "transformers")
COMPARED = ("examples_per_s", "supervised_tokens_per_s", "peak_above_model_bytes")
LEAST = {"trl": 4.0}
MOST_MEMORY = {"trl": 0.4}
"""Held to on CPUs with fast bf16: examples a second at least so many times theirs, peak memory at most so much of theirs."""


def experiment(options: argparse.Namespace) -> Experiment:
    precision = resolve_precision(options.precision, options.device)
    return load(
        compose(
            [
                f"model={options.model}", f"data={options.data}", "init=lora", "suite=none", "tracker=none", "lr=1e-3",
                f"precision={precision}",
                f"recipe.steps={options.steps}", "recipe.loss_evaluations=2", f"machine.device={options.device}",
                f"data.train_size={16 * options.steps}", "data.tune_size=1", "data.report_size=1", *options.overrides,
            ]
        )
    )  # fmt: skip


class Speed:
    """Seconds of steps after the warm-up, by the clock and of all threads, and the losses of all steps."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.began, self.seconds, self.cpu_seconds = warmup, (0.0, 0.0), 0.0, 0.0
        self.losses: list[float] = []

    def step(self, loss: float) -> None:
        self.losses.append(loss)
        now = time.perf_counter(), time.process_time()
        if len(self.losses) == self.warmup:
            self.began = now
        self.seconds, self.cpu_seconds = (after - before for after, before in zip(now, self.began, strict=True))


def measure(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one side in this process."""
    import torch

    from olora_bench import assets, inits
    from olora_bench.data import batch_order, build_parts
    from olora_bench.models import load_base, torch_dtype
    from olora_bench.training.memory import PeakMemory

    torch.set_num_threads(options.threads)
    what = experiment(options)
    assert what.precision != "auto"
    paths = assets.fetch(what, assets.resolve(what))
    device = torch.device(options.device)
    base = load_base(what.model, paths[f"model:{what.model.name}"], torch_dtype(what.precision), device, what.machine.cache_dir)
    parts = build_parts(what, paths, base.tokenizer)
    order = [i for batch in batch_order(len(parts.train), seed=what.seed, steps=options.steps, batch_size=16) for i in batch]
    examples = [parts.train[i] for i in order]
    adapted = inits.apply(base, what)
    speed = Speed(options.warmup)
    with PeakMemory(device) as memory:
        if side.startswith("ours"):
            _ours(side, what, parts, adapted, device, speed)
            steps = options.steps
        elif side == "transformers":
            steps = _transformers(examples, adapted.model, base.tokenizer, what, options, speed)
        else:
            steps = _trl(side, examples, adapted.model, base.tokenizer, what, options, speed)
    timed = steps - options.warmup
    supervised = sum(int(e.supervised[1:].sum()) for e in examples)
    tokens = sum(len(e.input_ids) for e in examples)
    # TRL's packing takes all examples in fewer steps: what a step holds on average.
    share = timed / steps
    return {
        "steps": steps,
        "seconds": speed.seconds,
        "cpu_seconds": speed.cpu_seconds,
        "examples_per_s": len(examples) * share / speed.seconds,
        "tokens_per_s": tokens * share / speed.seconds,
        "supervised_tokens_per_s": supervised * share / speed.seconds,
        "peak_above_model_bytes": memory.peak - memory.start,
        "first_loss": speed.losses[0],
        "final_loss": sum(speed.losses[-5:]) / len(speed.losses[-5:]),
        "precision": what.precision,
    }


def _ours(side: str, what: Experiment, parts: Any, adapted: Any, device: Any, speed: Speed) -> None:
    from olora_bench.training import train

    machine = what.machine.model_copy(
        update={"compile": side == "ours_compiled", "gradient_checkpointing": side == "ours_checkpointing", "checkpoint_share": None}
    )

    def on_row(row: dict[str, Any]) -> None:
        if row["train_loss"] is not None:
            speed.step(row["train_loss"])

    # Part losses (of one example each) are read before step 1, which is not timed, and in the last step, which is.
    train(adapted, parts, what.model_copy(update={"machine": machine}), device=device, on_row=on_row)


def _arguments(what: Experiment, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": folder, "per_device_train_batch_size": 16, "num_train_epochs": 1, "learning_rate": what.lr,
        "lr_scheduler_type": "linear", "warmup_steps": -(-options.steps // 10), "weight_decay": 0.0, "max_grad_norm": 1.0,
        "logging_steps": 1, "report_to": [], "save_strategy": "no", "bf16": what.precision == "bf16", "use_cpu": options.device == "cpu",
        "gradient_checkpointing": False, "disable_tqdm": True, "remove_unused_columns": False, "dataloader_pin_memory": False,
    }  # fmt: skip


def _callback(speed: Speed) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                speed.step(float(logs["loss"]))

    return Watch()


def _in_order(trainer: Any) -> Any:
    """The trainer with the examples in the order they come: they lie in the order of our batches."""
    import types

    from torch.utils.data import SequentialSampler

    trainer._get_train_sampler = types.MethodType(lambda self, dataset=None: SequentialSampler(dataset or self.train_dataset), trainer)
    return trainer


def _trl(side: str, examples: list[Any], model: Any, tokenizer: Any, what: Experiment, options: argparse.Namespace, speed: Speed) -> int:
    import datasets
    from trl import SFTConfig, SFTTrainer

    rows = {
        "input_ids": [e.input_ids.tolist() for e in examples],
        "labels": [[int(t) if s else -100 for t, s in zip(e.input_ids, e.supervised, strict=True)] for e in examples],
    }
    packing = side == "trl_packing"
    with tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(what, options, folder) | {"max_length": what.data.cutoff, "packing": packing}
        if packing:
            arguments["per_device_train_batch_size"] = max(1, round(16 * _mean_length(examples) / what.data.cutoff))
        trainer = SFTTrainer(
            model=model, args=SFTConfig(**arguments), train_dataset=datasets.Dataset.from_dict(rows), processing_class=tokenizer,
            callbacks=[_callback(speed)],
        )  # fmt: skip
        _in_order(trainer).train()
    return int(trainer.state.global_step)


def _mean_length(examples: list[Any]) -> float:
    return sum(len(e.input_ids) for e in examples) / len(examples)


def _transformers(examples: list[Any], model: Any, tokenizer: Any, what: Experiment, options: argparse.Namespace, speed: Speed) -> int:
    import torch
    from transformers import Trainer, TrainingArguments

    from olora_bench.data import collate
    from olora_bench.models import padding_id

    def padded(batch: list[Any]) -> dict[str, torch.Tensor]:
        made = collate(batch, padding_id(tokenizer))
        return {
            "input_ids": made.input_ids,
            "attention_mask": made.attention_mask,
            "labels": made.input_ids.masked_fill(~made.supervised, -100),
        }

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**_arguments(what, options, folder))
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, data_collator=padded, callbacks=[_callback(speed)])
        _in_order(trainer).train()
    return int(trainer.state.global_step)


def sides(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each side once, in turn."""
    for side in options.sides.split(","):
        done = subprocess.run(
            [sys.executable, "-m", "perf.train", "--measure", side, *sys.argv[1:]],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
        yield side, json.loads(lines[-1])


def main() -> int:
    """Print a line a side; 1 when a ratio is not held on a CPU with fast bf16."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m_q4")
    parser.add_argument("--data", default="commonsense", help="alpaca needs the Hub or a local folder")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=1, help="how often each side is measured, in turn")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None, help="default: perf/results/train_<data>_<processor>.json")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. machine.local_dir=DIR data=alpaca")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options)))
        return 0
    pairs: list[dict[str, dict[str, Any]]] = []
    for _ in range(options.pairs):
        pairs.append({})
        for side, result in sides(options):
            pairs[-1][side] = result
            print(_line(side, result), flush=True)
    held = _held(pairs)
    _write(pairs, options)
    return 0 if held else 1


def _line(side: str, result: dict[str, Any]) -> str:
    return (
        f"{side:18} {result['examples_per_s']:6.2f} examples/s {result['tokens_per_s']:6.0f} tokens/s "
        f"{result['supervised_tokens_per_s']:6.0f} supervised/s, "
        f"peak {result['peak_above_model_bytes'] / 2**20:6.0f} MiB above the model, "
        f"loss {result['first_loss']:.4f} -> {result['final_loss']:.4f} ({result['steps']} steps, {result['precision']})"
    )


def _held(pairs: Sequence[dict[str, dict[str, Any]]]) -> bool:
    held = True
    if "ours" not in pairs[0]:
        return held
    for side in pairs[0]:
        if side.startswith("ours"):
            continue
        speed, reads, memory = (ratios(pairs, "ours", side, key) for key in COMPARED)
        good = median(speed) >= LEAST.get(side, 0.0) and median(memory) <= MOST_MEMORY.get(side, float("inf"))
        good |= pairs[0]["ours"]["precision"] != "bf16"
        held &= good
        wanted = f" (at least {LEAST[side]:g}x, at most {MOST_MEMORY[side]:g}x)" if side in LEAST else ""
        print(
            f"ours / {side}, {len(pairs)} times: {spread(speed)}x examples/s, {spread(reads)}x supervised tokens/s, "
            f"{spread(memory)}x memory{wanted}{'' if good else '  NOT HELD'}"
        )
    return held


def _write(pairs: Sequence[dict[str, dict[str, Any]]], options: argparse.Namespace) -> None:
    from olora_bench.process.provenance import provenance

    facts = provenance(assets=[], threads=options.threads, device=options.device, token_budget={})
    out = options.out or results_file(f"train_{options.data}", facts, options.device)
    asked = {key: getattr(options, key) for key in ("model", "data", "steps", "warmup", "pairs")}
    out.write_text(json.dumps({"asked": asked, "provenance": facts, "pairs": pairs}, indent=1, default=str) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
