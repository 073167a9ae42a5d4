"""How long a study takes, in how much memory and disk."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from olora_bench.assets import made_up
from olora_bench.assets.layout import find_rows
from olora_bench.assets.parted import part_said
from olora_bench.assets.rows import read_rows
from olora_bench.config import Experiment
from olora_bench.config.data_rules import HELD_OUT, HELD_OUT_ROWS, held_out
from olora_bench.config.memory import adapter_parameters, training_memory
from olora_bench.config.steps import step_count
from olora_bench.errors import BadInput
from olora_bench.process.hardware import resolve_device
from olora_bench.run.scoring import BASE_FLIP_ITEMS, FLIP_ITEMS
from olora_bench.study.jobs import Job
from olora_bench.study.pace import CPU_FLOPS_PER_CORE, GPU_NAME, START_S, Pace, Paces, assumed, read_examples, threads_of

# Mean tokens, counted with SmolLM2's tokenizer on the pinned splits; a finished run's own counts replace the first.
TOKENS_PER_EXAMPLE = {"benchmarks": 50.0, "instructions": 115.0}
TRAIN_ROWS = {"benchmarks": 72_000, "instructions": 51_000}  # where data.train_size is null
UNCOUNTED_ITEMS, UNCOUNTED_CHANCE = 1000, 0.25  # of a benchmark that says nothing about them
ITEM_BYTES = 60.0  # a row of items.parquet
STEP_BYTES = 40.0  # a row of curve.parquet


@dataclass(frozen=True)
class Work:
    """What a run computes: steps, tokens trained on, tokens read for losses."""

    steps: int
    train_tokens: float
    loss_tokens: float


def tokens_per_example(experiment: Experiment, known: Mapping[str, float]) -> float:
    """Mean tokens of an example: what records of the same data say, else a count of such data."""
    data = experiment.data
    return known.get(data.name, min(TOKENS_PER_EXAMPLE[data.kind], float(data.cutoff)))


def train_rows(experiment: Experiment) -> int:
    """The rows that are trained on where `data.train_size` is null: those of a file that is named in full, else a count of such data."""
    data = experiment.data
    if data.path is None:
        return TRAIN_ROWS[data.kind]
    try:
        files = tuple(find_rows(data, None).get("train", ()))
        rows = _rows(files, tuple(file.stat().st_mtime_ns for file in files), data.split_column)
    except (BadInput, OSError):  # running it says what is wrong
        return TRAIN_ROWS[data.kind]
    return max(rows - sum(held_out(data, part, rows) or 0 for part in HELD_OUT if part not in data.own_parts), 1)


@cache
def _rows(files: tuple[Path, ...], changed_ns: tuple[int, ...], column: str | None) -> int:
    """Of all, or those of which a column says that they are trained on."""
    table = read_rows(files, [] if column is None else [column])
    if column is None or column not in table.column_names:
        return table.num_rows
    return sum(part_said(value) == "train" for value in table[column].to_pylist())


def work(experiment: Experiment, tokens: Mapping[str, float]) -> Work:
    """What training one experiment computes.

    Args:
        tokens: mean tokens of an example by data, as far as they are known.
    """
    data, recipe = experiment.data, experiment.recipe
    each = tokens_per_example(experiment, tokens)
    steps = step_count(recipe, data.train_size or train_rows(experiment))
    read = read_examples(data.model_dump(), recipe.model_dump())
    return Work(steps=steps, train_tokens=steps * recipe.batch_size * each, loss_tokens=read * each)


def items_by_benchmark(experiment: Experiment) -> dict[str, int]:
    """How many items of each benchmark the suite asks."""
    sizes = {name: _size(experiment, name) for name in experiment.suite.benchmarks}
    return {name: min(experiment.suite.limit or size, size) for name, size in sizes.items()}


def _size(experiment: Experiment, benchmark: str) -> int:
    """How many items a benchmark has."""
    return made_up.SIZES["test"] if experiment.suite.rows == "made_up" else experiment.benchmarks[benchmark].items or UNCOUNTED_ITEMS


def items(experiment: Experiment) -> int:
    """How many benchmark items the suite asks."""
    return sum(items_by_benchmark(experiment).values())


def answers(experiment: Experiment) -> int:
    """How many instructions the suite has answered."""
    wanted = experiment.suite.generation
    return 0 if wanted is None else min(wanted.limit or sys.maxsize, experiment.data.report_size or HELD_OUT_ROWS)


def requests(experiment: Experiment, most: int | None = None) -> float:
    """How many prompts with one of their choices the suite asks, of at most so many items a benchmark."""
    limit, suite = min(experiment.suite.limit or sys.maxsize, most or sys.maxsize), experiment.suite
    chances = {name: experiment.benchmarks[name].chance or UNCOUNTED_CHANCE for name in suite.benchmarks}
    return sum(min(limit, _size(experiment, name)) / chance for name, chance in chances.items())


def memory_bytes(experiment: Experiment) -> float:
    """Peak memory while training."""
    return training_memory(experiment, on_gpu=resolve_device(experiment.machine.device).startswith("cuda")).total


def download_bytes(experiment: Experiment) -> float:
    """What the model takes in the cache: two bytes a parameter, as the Hub's files have; a quantised model is downloaded whole."""
    return 2.0 * experiment.model.parameters


def disk_bytes(experiment: Experiment) -> float:
    """What a finished run leaves in results/: adapter, curve and items."""
    return 4 * adapter_parameters(experiment) + STEP_BYTES * work(experiment, {}).steps + ITEM_BYTES * items(experiment) + 2e4


def bases(jobs: Sequence[Job]) -> list[Job]:
    """One job of each untouched base that is scored."""
    return list({job.what.base_eval_id: job for job in jobs if job.what.base_eval_id is not None and job.what.eval_id is not None}.values())


def job_seconds(job: Job, known: Paces) -> float:
    """How long it takes to train a job, and to score it where it is scored."""
    pace = known.of(job.experiment)
    scored = score_seconds(job.experiment, pace) if job.what.eval_id is not None else 0.0
    return train_seconds(job.experiment, pace, known.tokens_per_example) + scored


def seconds(jobs: Sequence[Job], untouched: Sequence[Job], known: Paces) -> float:
    """How long it takes to train and score `jobs`, and to score the bases of `untouched`, one after the other in one process."""
    scored = sum(score_seconds(job.experiment, known.of(job.experiment), BASE_FLIP_ITEMS) for job in untouched)
    return (START_S if jobs or untouched else 0.0) + sum(job_seconds(job, known) for job in jobs) + scored


def source(experiments: Sequence[Experiment], known: Paces) -> str:
    """Where the seconds of these runs come from, in words."""
    models = {one.model.name for one in experiments}
    told = [f"from {known.runs} finished runs on this hardware"] if models & known.records.keys() else []
    told += [f"measured here on random weights of {', '.join(seen)}"] if (seen := sorted(models & known.measured.keys())) else []
    if not all(known.knows(model) for model in models):
        gpu = resolve_device(experiments[0].machine.device).startswith("cuda")
        threads = threads_of(experiments[0].machine)
        where = GPU_NAME if gpu else f"{threads} thread{'s' * (threads > 1)} at {CPU_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s"
        told.append(f"from FLOPs, assuming {where}: no finished run on this hardware")
    return "; ".join(told)


def gpu_seconds(jobs: Sequence[Job], untouched: Sequence[Job]) -> float:
    """`seconds` from FLOPs on the GPU that `GPU_NAME` assumes."""
    names = {job.experiment.model.name: assumed(job.experiment, on_gpu=True) for job in (*jobs, *untouched)}
    return seconds(jobs, untouched, Paces({}, 0, {}, {}, names))


def train_seconds(experiment: Experiment, pace: Pace, tokens: Mapping[str, float]) -> float:
    """Of a training with its readings of losses, and of what a run takes however short it is."""
    done = work(experiment, tokens)
    return done.train_tokens * pace.train + done.loss_tokens * pace.read + pace.setup


def score_seconds(experiment: Experiment, pace: Pace, flip_items: int = FLIP_ITEMS) -> float:
    """Of a scoring, of what is compared with fp32 where that is another precision, and of answers."""
    exact = (experiment.suite.dtype or experiment.precision) == "fp32" or experiment.model.quantization is not None
    again = 0.0 if exact else requests(experiment, flip_items) * pace.exact
    wanted = experiment.suite.generation
    tokens = 0 if wanted is None else wanted.max_new_tokens * answers(experiment)
    return requests(experiment) * pace.request + again + tokens * pace.answer
