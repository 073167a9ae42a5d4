"""How long a study takes, in how much memory and disk: from finished records of the same hardware, else from operations counted.

Operations of a transformer: 2 per parameter and token forward, as many again back through a frozen layer (Kaplan et al., arXiv 2001.08361,
section 2.1, without the weights' own gradients); attention's quadratic part is left out, it is small at these lengths.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from pydantic import JsonValue

from olora_bench.config import Experiment
from olora_bench.config.memory import adapter_parameters, training_memory
from olora_bench.config.schema import Data, Recipe
from olora_bench.errors import RecordError
from olora_bench.process.hardware import Hardware, describe, resolve_device
from olora_bench.run.scoring import BASE_FLIP_ITEMS, FLIP_ITEMS
from olora_bench.store import EvalRecord, RunRecord, Store
from olora_bench.study.jobs import Job

AnyRecord = TypeVar("AnyRecord", RunRecord, EvalRecord)

# Mean tokens, counted with SmolLM2's tokenizer on the pinned splits; a finished run's own counts replace the first.
TOKENS_PER_EXAMPLE = {"benchmarks": 50.0, "instructions": 115.0}
TOKENS_PER_CHOICE = 50.0  # a prompt with one of its choices, mean over the items of the six benchmarks
TRAIN_ROWS = {"benchmarks": 72_000, "instructions": 51_000}  # where data.train_size is null
FP32_TAKES = 3.0  # times as long as the same requests in bf16: of the base of results/smollm2 100 of 300 items took 86 s after 90 s
CPU_FLOPS_PER_CORE = 5e10
GPU_FLOPS = 9.4e13  # 30% of an A100's dense bf16 peak of 312 TFLOP/s
GPU_NAME = "A100 at 30% of its bf16 peak, 94 TFLOP/s"
ITEM_BYTES = 60.0  # a row of items.parquet
STEP_BYTES = 40.0  # a row of curve.parquet


@dataclass(frozen=True)
class Work:
    """What a run computes: tokens trained on, tokens read for losses."""

    steps: float
    train_tokens: float
    loss_tokens: float


@dataclass(frozen=True)
class Speeds:
    """Medians of what finished records of one hardware did, by model; `fp32_requests_per_s` of those that were compared with fp32;
    `tokens_per_example` by data, `peak_bytes` a maximum by model."""

    tokens_per_s: Mapping[str, float]
    requests_per_s: Mapping[str, float]
    fp32_requests_per_s: Mapping[str, float]
    flops: float | None
    tokens_per_example: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    runs: int


@dataclass(frozen=True)
class Estimate:
    """Of a set of jobs. `source` says in words where the seconds come from."""

    seconds: float
    source: str


def body(experiment: Experiment) -> int:
    """Parameters that every token passes through: all but the embeddings, whose product is computed only where it is read."""
    model = experiment.model
    return max(model.parameters - model.vocab_size * model.hidden_size, model.parameters // 10)


def work(experiment: Experiment, tokens_per_example: Mapping[str, float]) -> Work:
    """What training one experiment computes."""
    data, recipe = experiment.data, experiment.recipe
    tokens = tokens_per_example.get(data.name, min(TOKENS_PER_EXAMPLE[data.kind], float(data.cutoff)))
    steps = recipe.steps or recipe.epochs * (data.train_size or TRAIN_ROWS[data.kind]) / recipe.batch_size
    return Work(
        steps=steps,
        train_tokens=steps * recipe.batch_size * tokens,
        loss_tokens=_read_examples(data, recipe) * tokens,
    )


def _read_examples(data: Data, recipe: Recipe) -> int:
    """Examples of the tune and the report part whose loss is read."""
    once = data.tune_size + (0 if recipe.read == "tune" else data.report_size)
    return once * (recipe.loss_evaluations + 1 if recipe.read == "everything" else 1)


def items(experiment: Experiment) -> int:
    """How many benchmark items the suite asks."""
    limit = experiment.suite.limit
    return sum(min(limit or b.items, b.items) for b in (experiment.benchmarks[name] for name in experiment.suite.benchmarks))


def requests(experiment: Experiment, most: int | None = None) -> float:
    """How many prompts with one of their choices the suite asks, of at most so many items a benchmark."""
    limit, suite = min(experiment.suite.limit or sys.maxsize, most or sys.maxsize), experiment.suite
    return sum(min(limit, b.items) / b.chance for b in (experiment.benchmarks[name] for name in suite.benchmarks))


def memory_bytes(experiment: Experiment) -> float:
    """Peak memory while training."""
    return training_memory(experiment, on_gpu=resolve_device(experiment.machine.device).startswith("cuda")).total


def download_bytes(experiment: Experiment) -> float:
    """What the model takes in the cache: two bytes a parameter, as the Hub's files have; a quantised model is downloaded whole."""
    return 2.0 * experiment.model.parameters


def disk_bytes(experiment: Experiment) -> float:
    """What a finished run leaves in results/: adapter, curve and items."""
    return 4 * adapter_parameters(experiment) + STEP_BYTES * work(experiment, {}).steps + ITEM_BYTES * items(experiment) + 2e4


def alike(record: RunRecord | EvalRecord, here: Hardware, device: str) -> bool:
    """Whether a record's times say something about this machine: processor, cores, GPUs and kind of device are the same."""
    there = record.provenance.get("hardware")
    same = isinstance(there, dict) and all(there.get(key) == getattr(here, key) for key in ("processor", "cores", "gpus"))
    return same and str(record.provenance.get("device")).split(":")[0] == resolve_device(device).split(":")[0]


def speeds(store: Store, device: str) -> Speeds:
    """What the store's finished records of this hardware say."""
    here = describe()
    runs = [r for r in _readable(store.iter_runs()) if r.status == "done" and alike(r, here, device)]
    evals = [e for e in _readable(store.iter_evals()) if e.status == "done" and alike(e, here, device)]
    model_of = {run.train_id: _name(run.config, "model") for run in runs}
    trained = [(model_of[run.train_id], run.tokens_per_s) for run in runs if run.tokens_per_s]
    scored, compared = (list(_requests_per_s(evals, model_of, phase)) for phase in ("score", "flips"))
    lengths = [(_name(r.config, "data"), r.tokens_per_s / r.examples_per_s) for r in runs if r.tokens_per_s and r.examples_per_s]
    flops = [4 * _body(run) * run.tokens_per_s for run in runs if run.tokens_per_s]
    peaks: dict[str, int] = {}
    for run in runs:
        if run.peak_bytes:
            peaks[model_of[run.train_id]] = max(run.peak_bytes, peaks.get(model_of[run.train_id], 0))
    return Speeds(
        _medians(trained), _medians(scored), _medians(compared), median(flops) if flops else None, _medians(lengths), peaks, len(runs)
    )


def _requests_per_s(evals: Iterable[EvalRecord], model_of: Mapping[str, str], phase: str) -> Iterator[tuple[str, float]]:
    """By model, how many requests a second were answered in a phase: `score`, or `flips` for those that were compared with fp32."""
    for record in evals:
        asked = sum((s.items if phase == "score" else s.flip_items) / s.chance for s in record.scores.values())
        if (taken := record.timings_s.get(phase, 0.0)) > 0 and asked:
            yield record.base or model_of.get(str(record.train_id), ""), asked / taken


def seconds(jobs: Sequence[Job], bases: Sequence[Job], known: Speeds, device: str) -> Estimate:
    """How long it takes to train and score `jobs`, and to score the untouched bases of `bases`, one after the other on this machine."""
    cores, rate = describe().cores, _rate(known, device)
    total, guessed = 0.0, 0
    for job in jobs:
        total += _train_seconds(job.experiment, known, rate) + _score_seconds(job.experiment, known, rate)
        guessed += job.experiment.model.name not in known.tokens_per_s
    total += sum(_score_seconds(job.experiment, known, rate, BASE_FLIP_ITEMS) for job in bases)
    if known.flops is None:
        where = GPU_NAME if resolve_device(device).startswith("cuda") else f"{cores} cores at {CPU_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s each"
        return Estimate(total, f"from FLOPs, assuming {where}: no finished run on this hardware")
    scaled = f"; {guessed} runs of models not seen here scaled by their FLOPs" if guessed else ""
    return Estimate(total, f"from {known.runs} finished runs on this hardware{scaled}")


def seed_seconds(experiments: Sequence[Experiment], finalists: int, known: Speeds, device: str) -> float:
    """How long one seed of these takes here: each trains its finalists, and scores the one that is kept."""
    rate = _rate(known, device)
    return sum(finalists * _train_seconds(one, known, rate) + _score_seconds(one, known, rate) for one in experiments)


def _rate(known: Speeds, device: str) -> float:
    """FLOPs a second: as finished runs had them, else assumed."""
    return known.flops or (GPU_FLOPS if resolve_device(device).startswith("cuda") else CPU_FLOPS_PER_CORE * describe().cores)


def gpu_seconds(jobs: Sequence[Job], bases: Sequence[Job]) -> float:
    """The same from FLOPs on the GPU that `GPU_NAME` assumes."""
    nothing = Speeds({}, {}, {}, None, {}, {}, 0)
    total = sum(_train_seconds(j.experiment, nothing, GPU_FLOPS) + _score_seconds(j.experiment, nothing, GPU_FLOPS) for j in jobs)
    return total + sum(_score_seconds(job.experiment, nothing, GPU_FLOPS, BASE_FLIP_ITEMS) for job in bases)


def _train_seconds(experiment: Experiment, known: Speeds, rate: float) -> float:
    done = work(experiment, known.tokens_per_example)
    speed = known.tokens_per_s.get(experiment.model.name, rate / (4 * body(experiment)))
    return (done.train_tokens + done.loss_tokens / 2) / speed  # reading a loss is the forward half


def _score_seconds(experiment: Experiment, known: Speeds, rate: float, flip_items: int = FLIP_ITEMS) -> float:
    """Of a scoring, and of what is compared with fp32 where that is another precision."""
    name = experiment.model.name
    speed = known.requests_per_s.get(name, rate / (2 * body(experiment) * TOKENS_PER_CHOICE))
    exact = (experiment.suite.dtype or experiment.precision) == "fp32" or experiment.model.quantization is not None
    again = 0.0 if exact else requests(experiment, flip_items) / known.fp32_requests_per_s.get(name, speed / FP32_TAKES)
    return requests(experiment) / speed + again


def _body(run: RunRecord) -> int:
    model: Any = run.config.get("model")
    return max(int(model["parameters"]) - int(model["vocab_size"]) * int(model["hidden_size"]), int(model["parameters"]) // 10)


def _name(config: Mapping[str, JsonValue], group: str) -> str:
    choice = config.get(group)
    return str(choice.get("name")) if isinstance(choice, dict) else ""


def _medians(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: median(values) for key, values in found.items()}


def _readable(records: Iterable[AnyRecord | RecordError]) -> list[AnyRecord]:
    return [record for record in records if not isinstance(record, RecordError)]
