"""How fast a model goes on a machine: from finished records of the same hardware, else measured by `calibrate`, else from operations.

Operations of a transformer: 2 per parameter and token forward, as many again back through a frozen layer (Kaplan et al., arXiv 2001.08361,
section 2.1, without the weights' own gradients); attention's quadratic part is left out, it is small at these lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

from pydantic import JsonValue

from olora_bench.config import Experiment
from olora_bench.config.data_rules import HELD_OUT, HELD_OUT_ROWS
from olora_bench.config.memory import token_budgets
from olora_bench.config.schema import Machine
from olora_bench.errors import RecordError
from olora_bench.process.hardware import Hardware, describe, resolve_device
from olora_bench.store import EvalRecord, RunRecord, Store

AnyRecord = TypeVar("AnyRecord", RunRecord, EvalRecord)

CPU_FLOPS_PER_CORE = 5e10
GPU_FLOPS = 9.4e13  # 30% of an A100's dense bf16 peak of 312 TFLOP/s
GPU_NAME = "A100 at 30% of its bf16 peak, 94 TFLOP/s"
LAYER_PASS_S = 1.5e-3  # a layer's forward and backward pass, however few its tokens
SHORT_EXAMPLE = 50.0  # tokens
# The following of results/smollm2 and results/smollm2_alpaca.
READ_SHARE = 0.3  # a token whose loss is read takes this share of one that is trained on
TOKENS_PER_CHOICE = 50.0  # a prompt with one of its choices, mean over the items of the six benchmarks
CHOICE_SHARE = 0.6  # choices share their prompt in one pass
FP32_TAKES = 3.0  # times as long as the same requests in bf16
SETUP_S = 5.0  # data, init with its anatomy, and writing
START_S = 8.0  # Python, torch and the model, once a process
THREADS_GIVE = 0.8  # t threads are t to this power times as fast as one


@dataclass(frozen=True)
class Pace:
    """Seconds that a model takes on a machine: for a token that is trained on, a token whose loss is read, a prompt with one of its
    choices, the same in fp32, a token that is generated, and for what a run takes whatever its length."""

    train: float
    read: float
    request: float
    exact: float
    answer: float
    setup: float = SETUP_S


@dataclass(frozen=True)
class Paces:
    """What is known of a machine.

    Attributes:
        records: by model, medians of what finished records of this hardware took.
        runs: how many those are.
        tokens_per_example: by data, of the same.
        peak_bytes: by model, the most of them.
        measured: by model, what a calibration measured, for models without records.
    """

    records: Mapping[str, Pace]
    runs: int
    tokens_per_example: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    measured: Mapping[str, Pace]

    def of(self, experiment: Experiment) -> Pace:
        """The best that is known of an experiment's model."""
        name = experiment.model.name
        return self.records.get(name) or self.measured.get(name) or assumed(experiment)

    def knows(self, model: str) -> bool:
        """Whether a model was run or measured here."""
        return model in self.records or model in self.measured


def body(experiment: Experiment) -> int:
    """Parameters that every token passes through: all but the embeddings, whose product is computed only where it is read."""
    model = experiment.model
    return max(model.parameters - model.vocab_size * model.hidden_size, model.parameters // 10)


def assumed(experiment: Experiment, *, on_gpu: bool | None = None) -> Pace:
    """From operations, with what a layer's pass takes at the least; `on_gpu` None asks this machine."""
    gpu = resolve_device(experiment.machine.device).startswith("cuda") if on_gpu is None else on_gpu
    rate = GPU_FLOPS if gpu else CPU_FLOPS_PER_CORE * threads_of(experiment.machine) ** THREADS_GIVE
    step = experiment.recipe.batch_size * SHORT_EXAMPLE
    least = experiment.model.layers * LAYER_PASS_S / min(step, token_budgets(experiment.machine, on_gpu=gpu)[0])
    return of_training(4 * body(experiment) / rate + least)


def of_training(train: float, setup: float = SETUP_S) -> Pace:
    """A pace of which only the seconds of a token trained on are known."""
    read = READ_SHARE * train
    request = CHOICE_SHARE * TOKENS_PER_CHOICE * read
    return Pace(train, read, request, FP32_TAKES * request, train, setup)


def threads_of(machine: Machine) -> int:
    """The threads that a run takes."""
    return machine.threads or describe().cores


def alike(record: RunRecord | EvalRecord, here: Hardware, device: str) -> bool:
    """Whether a record's times say something about this machine: processor, cores, GPUs and kind of device are the same."""
    there = record.provenance.get("hardware")
    same = isinstance(there, dict) and all(there.get(key) == getattr(here, key) for key in ("processor", "cores", "gpus"))
    return same and str(record.provenance.get("device")).split(":")[0] == resolve_device(device).split(":")[0]


def paces(store: Store, machine: Machine, here: Hardware | None = None) -> Paces:
    """What the store's finished records of this hardware say, as if they had run on the machine's number of threads."""
    known = here or describe()
    runs = [r for r in _readable(store.iter_runs()) if r.status == "done" and alike(r, known, machine.device)]
    evals = [e for e in _readable(store.iter_evals()) if e.status == "done" and alike(e, known, machine.device)]
    return paces_of(runs, evals, 1 if resolve_device(machine.device).startswith("cuda") else threads_of(machine))


def paces_of(runs: Sequence[RunRecord], evals: Sequence[EvalRecord], threads: int) -> Paces:
    """What finished records say.

    Args:
        threads: of the machine that is asked about.
    """
    model_of = {run.train_id: _name(run.config, "model") for run in runs}
    lengths = _medians((_name(r.config, "data"), r.tokens_per_s / r.examples_per_s) for r in runs if r.tokens_per_s and r.examples_per_s)
    trained = _medians((model_of[r.train_id], _scale(r, threads) / r.tokens_per_s) for r in runs if r.tokens_per_s)
    setups = _medians((model_of[r.train_id], _phases(r, "assets", "data", "init", "save")) for r in runs)
    found = {name: of_training(each, setups[name]) for name, each in trained.items()}
    found = _with(found, "read", _read_seconds(runs, threads))
    for field, phase in (("request", "score"), ("exact", "flips"), ("answer", "generate")):
        found = _with(found, field, _asked_seconds(evals, model_of, phase, threads))
    peaks: dict[str, int] = {}
    for run in runs:
        if run.peak_bytes:
            peaks[model_of[run.train_id]] = max(run.peak_bytes, peaks.get(model_of[run.train_id], 0))
    return Paces(found, len(runs), lengths, peaks, {})


def _with(found: Mapping[str, Pace], field: str, values: Iterable[tuple[str, float]]) -> dict[str, Pace]:
    known = _medians(values)
    changed = {name: replace(pace, **{field: known[name]}) if name in known else pace for name, pace in found.items()}
    if field == "request":  # what is not measured in fp32 follows from what is not
        changed = {name: replace(pace, exact=FP32_TAKES * pace.request) for name, pace in changed.items()}
    return changed


def _scale(record: RunRecord | EvalRecord, threads: int) -> float:
    """By how much a record's seconds would change with so many threads; 1 on a GPU."""
    there: Any = record.provenance.get("threads")
    on_cpu = str(record.provenance.get("device")).startswith("cpu")
    return float((there / threads) ** THREADS_GIVE) if on_cpu and isinstance(there, int) else 1.0


def _phases(record: RunRecord, *names: str) -> float:
    return sum(record.timings_s.get(name, 0.0) for name in names)


def _read_seconds(runs: Iterable[RunRecord], threads: int) -> Iterator[tuple[str, float]]:
    for run in runs:
        taken = run.timings_s.get("part_losses", 0.0)
        if taken > 0 and run.tokens_per_s and run.examples_per_s:
            examples = read_examples(run.config["data"], run.config["recipe"])
            yield _name(run.config, "model"), _scale(run, threads) * taken / (examples * run.tokens_per_s / run.examples_per_s)


def read_examples(data: Any, recipe: Any) -> int:
    """Examples of the tune and the report part whose loss is read; both as a record's config has them."""
    read = recipe.get("read", "everything")
    sizes = [int(data[f"{part}_size"] or HELD_OUT_ROWS) for part in HELD_OUT]
    once = sizes[0] if read == "tune" else sum(sizes)
    return once * (int(recipe["loss_evaluations"]) + 1 if read == "everything" else 1)


def _asked_seconds(evals: Iterable[EvalRecord], model_of: Mapping[str, str], phase: str, threads: int) -> Iterator[tuple[str, float]]:
    """By model, the seconds of a request in a phase: `score`, `flips` for those that were compared with fp32, `generate` for a token."""
    for record in evals:
        suite: Any = record.config.get("suite") or {}
        told = suite.get("generation") or {}
        asked = sum((s.items if phase == "score" else s.flip_items) / s.chance for s in record.scores.values())
        asked = float(told.get("max_new_tokens") or 0) * float(told.get("limit") or 0) if phase == "generate" else asked
        if (taken := record.timings_s.get(phase, 0.0)) > 0 and asked:
            yield record.base or model_of.get(str(record.train_id), ""), _scale(record, threads) * taken / asked


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
