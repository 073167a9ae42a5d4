"""Scoring a suite: lm-eval's evaluator over our items, its metrics kept as they come, every item kept beside them."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import pandas as pd
import torch
from lm_eval import evaluator
from lm_eval.api.samplers import get_sampler
from lm_eval.api.task import ConfigurableTask
from torch import Tensor, nn

from olora_bench.config import Benchmark, Experiment, Suite
from olora_bench.config.memory import scoring_budget
from olora_bench.config.schema import Dtype
from olora_bench.data.items import gold_index, item_id
from olora_bench.data.tasks import lm_eval_quietly
from olora_bench.evaluation.scorer import Scorer
from olora_bench.models import Base, restore
from olora_bench.models.base import DTYPES
from olora_bench.models.memory import free_bytes
from olora_bench.process.machine_faults import is_memory
from olora_bench.process.progress import size
from olora_bench.seeds import derive
from olora_bench.store import Score
from olora_bench.store.item_source import source_of
from olora_bench.store.record import Metric

_FEWSHOT_SEED = 1234  # lm-eval's own default
_USABLE = 0.9  # of the memory that is free, for weights: the rest is for computing with them
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Flips(TypedDict):
    """Of `flip_items` items scored again in fp32: metric -> the share whose predicted choice differs."""

    flips: dict[Metric, float]
    flip_items: int


class NoRoom(MemoryError):
    """There is not the memory that weights in another precision take; the message says how much they take, and how much is free."""


class Loaded(Protocol):
    """What scoring needs of a loaded base (`olora_bench.models.Base`)."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Scoring:
    """What is asked of a model, and how much of it at a time.

    Attributes:
        benchmarks: by name, those of `suite`.
        tasks: benchmark name -> task, from `olora_bench.data.benchmark_tasks`.
        token_budget: tokens in one forward pass, from `token_budget`; changes speed and memory, not scores.
        cache_dir: where tokenised prompts are kept for the next process; None keeps none.
    """

    suite: Suite
    benchmarks: Mapping[str, Benchmark]
    tasks: Mapping[str, ConfigurableTask]
    token_budget: int
    cache_dir: Path | None = None


def token_budget(experiment: Experiment, device: torch.device) -> int:
    """Tokens in one forward pass of scoring: as many as the machine's config says, fewer where memory is short."""
    return scoring_budget(experiment, free_bytes(device), on_gpu=device.type == "cuda")


def evaluate(model: nn.Module, base: Loaded, asked: Scoring, *, dtype: Dtype) -> tuple[dict[str, Score], pd.DataFrame]:
    """Score a model on a suite.

    Args:
        model: the base itself or a PEFT model around it; left in the mode and precision it came in.
        base: gives tokenizer and device.
        dtype: what the base's weights are computed in; an adapter stays as it is.

    Returns:
        scores: by benchmark name; a single item has no standard error.
        items: one row an item, columns as in the store's items.parquet. `lengths` are lm-eval's: characters of each choice.
    """
    suite, benchmarks = asked.suite, asked.benchmarks
    chosen = {name: asked.tasks[name] for name in suite.benchmarks}
    samples = {name: chosen_rows(suite, name, len(task.eval_docs)) for name, task in chosen.items()}
    for task in chosen.values():
        if suite.num_fewshot:
            task.sampler = get_sampler(suite.fewshot_sampler)(list(task.fewshot_docs()), rnd=_FEWSHOT_SEED)
        task.set_fewshot_seed(_FEWSHOT_SEED)
    with lm_eval_quietly(), in_eval_mode(model), computing_in(model, DTYPES[dtype]):
        scorer = Scorer(model, base.tokenizer, device=base.device, token_budget=asked.token_budget, cache_dir=asked.cache_dir)
        # Metrics here are means, whose standard error is exact: the number of bootstrap rounds only switches it on.
        found = evaluator.evaluate(scorer, {"tasks": chosen, "groups": {}}, samples=samples, bootstrap_iters=1, log_samples=False)
        frames = {name: _items(name, task, benchmarks[name].report_split, samples[name]) for name, task in chosen.items()}
    for task in chosen.values():
        task._instances = None  # the prompts of every item, which the cached task would keep
    scores = {name: _score(benchmarks[name], chosen[name], found["results"][name], frame, scorer) for name, frame in frames.items()}
    return scores, pd.concat(frames.values(), ignore_index=True)


def measure_flips(model: nn.Module, base: Base, asked: Scoring, items: pd.DataFrame, *, limit: int) -> dict[str, Flips]:
    """How many predictions the precision decides: up to `limit` items of each benchmark again, all in fp32.

    Args:
        model: `base.model` untouched, whose file's weights are read again, since their rounding is a part of what a lower precision
            decides; or a trained model around it, whose own weights are taken: what training saw were the rounded ones.
        base: its weights take fp32's memory meanwhile, and have their bits from before afterwards.
        items: what `evaluate` returned for this model on this suite in a lower precision.

    Returns:
        by benchmark name.

    Raises:
        NoRoom: fp32 does not fit, even one item at a time. The base is as it was.
    """
    few = replace(asked, suite=asked.suite.model_copy(update={"limit": min(limit, asked.suite.limit or limit)}))
    try:
        with computing_in(base.model, torch.float32):
            if model is base.model:
                restore(base, [name for name, parameter in model.named_parameters() if parameter.is_floating_point()], torch.float32)
            _, exact = evaluate(model, base, few, dtype="fp32")
    except Exception as error:
        if isinstance(error, NoRoom) or not is_memory(error):
            raise
        raise NoRoom(f"memory ran out on {base.device}") from error
    both = items.merge(exact, on=["benchmark", "item_id"], suffixes=("", "_fp32"))
    return {str(name): _flips(rows, asked.benchmarks[str(name)]) for name, rows in both.groupby("benchmark")}


def _flips(rows: pd.DataFrame, benchmark: Benchmark) -> Flips:
    columns = {"acc": "prediction", "acc_norm": "prediction_norm"}
    shares = {m: float((rows[columns[m]] != rows[f"{columns[m]}_fp32"]).mean()) for m in benchmark.metrics}
    return {"flips": shares, "flip_items": len(rows)}


def chosen_rows(suite: Suite, name: str, count: int) -> Sequence[int]:
    """The rows of a benchmark's scored split that `suite.limit` picks, rising: the same for every arm; a larger limit keeps a smaller's."""
    if suite.limit is None or suite.limit >= count:
        return range(count)  # in which lm-eval looks up every row
    rng = np.random.default_rng([derive(suite.limit_seed, "limit"), zlib.crc32(name.encode())])
    return sorted(rng.permutation(count)[: suite.limit].tolist())


def _items(name: str, task: ConfigurableTask, split: str, rows: Sequence[int]) -> pd.DataFrame:
    """What lm-eval's requests were answered; it numbers documents by their place in `rows`."""
    answers: dict[int, list[tuple[int, float]]] = {}
    for request in task.instances:
        answers.setdefault(request.doc_id, []).append((request.idx, request.resps[0][0]))
    table = []
    for place, row in enumerate(rows):
        doc = task.eval_docs[row]
        loglikelihoods = np.array([value for _, value in sorted(answers[place])], dtype=np.float64)
        lengths = np.array([len(choice) for choice in task.doc_to_choice(doc)], dtype=np.int64)
        gold = gold_index(task, doc)
        prediction, prediction_norm = int(np.argmax(loglikelihoods)), int(np.argmax(loglikelihoods / lengths))
        table.append(
            {
                "benchmark": name,
                "item_id": item_id(doc, split, row),
                "gold": gold,
                "prediction": prediction,
                "prediction_norm": prediction_norm,
                "correct": prediction == gold,
                "correct_norm": prediction_norm == gold,
                "loglikelihoods": loglikelihoods.tolist(),
                "lengths": lengths.tolist(),
                "source": source_of(doc),
            }
        )
    return pd.DataFrame(table)


def _score(benchmark: Benchmark, task: ConfigurableTask, found: Mapping[str, float | str], items: pd.DataFrame, scorer: Scorer) -> Score:
    metrics = {m: float(found[f"{m},none"]) for m in benchmark.metrics}
    errors = {m: found[f"{m}_stderr,none"] for m in benchmark.metrics}
    chance = benchmark.chance or float(np.mean([1 / len(ll) for ll in items["loglikelihoods"]]))
    gold = [ll[g] for ll, g in zip(items["loglikelihoods"], items["gold"], strict=True)]
    return Score(
        metrics=metrics,
        stderr={m: None if isinstance(e, str) else float(e) for m, e in errors.items()},
        primary=benchmark.metrics[0],
        items=len(items),
        chance=chance,
        gold_logprob=float(np.mean(gold)),
        truncated=sum(name == task.config.task for name, _ in scorer.truncated),
        warnings=[
            *_below_chance(benchmark.metrics[0], metrics[benchmark.metrics[0]], chance, len(items)),
            *_about_tokens(str(task.config.task), len(items), scorer),
            *scorer.notes,
        ],
    )


def _below_chance(metric: str, score: float, chance: float, items: int) -> list[str]:
    # The error of guessing, and not the score's own: that one is 0 where every item is wrong.
    error = math.sqrt(chance * (1 - chance) / items)
    if score >= chance - 2 * error:
        return []
    return [
        f"{metric} {score:.3f} is more than 2 standard errors ({error:.3f} each) below chance ({chance:.3f}): "
        "check the prompt and the tokenizer"
    ]


def _about_tokens(task: str, items: int, scorer: Scorer) -> list[str]:
    kept = "" if scorer.special.begin is None else "; BOS stays in front, where lm-eval cuts it too"
    kinds = (
        (scorer.truncated, f"had a prompt longer than the model's {scorer.max_length} tokens and lost its beginning{kept}"),
        (scorer.empty, "have a choice that adds no token to its prompt; its log-likelihood counts as 0"),
        (
            scorer.merged,
            "have a prompt whose last token merges with a choice; the cut between them is lm-eval's, "
            "which may lose or double a piece of text there (training takes the text as written)",
        ),
    )
    counts = [(sum(name == task for name, _ in some), text) for some, text in kinds]
    return [f"{count} of {items} items {text}" for count, text in counts if count]


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def computing_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """The base's floating-point weights in `dtype` for a while; afterwards their bits from before. Adapters keep their precision.

    One weight after another; where a GPU has no room for both, those from before wait in the processor's memory.

    Raises:
        NoRoom: there is none for `dtype` alone.
    """
    changed = [p for name, p in model.named_parameters() if "lora_" not in name and p.dtype in DTYPES.values() and p.dtype != dtype]
    aside = _must_wait_aside(changed, dtype)
    before: list[Tensor] = []
    try:
        for parameter in changed:
            before.append(parameter.data.cpu() if aside else parameter.data)
            parameter.data = parameter.data.to(dtype)  # memory may end half-way
        yield
    finally:
        for parameter, data in zip(changed, before, strict=False):
            parameter.data = data.to(parameter.device)


def _must_wait_aside(changed: Sequence[nn.Parameter], dtype: torch.dtype) -> bool:
    if not changed:
        return False
    device = changed[0].device
    need, free = dtype.itemsize * sum(p.numel() for p in changed), _USABLE * free_bytes(device)
    freed = sum(p.nbytes for p in changed) if device.type == "cuda" else 0
    if need > free + freed:
        raise NoRoom(f"in {_NAMES[dtype]} its weights take {size(need)}, and {size(free + freed)} can be used on {device}")
    return need > free
