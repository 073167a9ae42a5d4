"""lm-eval's own task definitions, reading our rows. Only where a task's data comes from is changed."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import datasets
import lm_eval.api.task
import lm_eval.utils
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from olora_bench.config import Benchmark
from olora_bench.config.lm_eval_tasks import task_file
from olora_bench.config.schema import Metric
from olora_bench.data.items import Doc
from olora_bench.data.rows import Definition, Splits, check_docs, processed
from olora_bench.errors import BadInput, MissingAssets

SPLITS = ("train", "validation", "test")
_ROLES = ("training_split", "validation_split", "test_split")

# Keyed by everything that makes a task: a worker's runs share tasks, and rows that changed on disk make a new one.
_TASKS: dict[tuple[Any, ...], ConfigurableTask] = {}


def benchmark_tasks(benchmarks: Mapping[str, Benchmark], paths: Mapping[str, Path], num_fewshot: int) -> dict[str, ConfigurableTask]:
    """The lm-eval task of each benchmark, built once per process.

    Args:
        benchmarks: by name, as in `Experiment.benchmarks`.
        paths: asset key `benchmark:<name>` -> folder with `<split>.parquet` in the Hub's native columns.
        num_fewshot: solved examples in front of each item, taken as lm-eval takes them (from the train split, where there is one).

    Returns:
        benchmark name -> task.

    Raises:
        BadInput: lm-eval has no such task, another version of it, or scores another split than the benchmark's YAML says; or a row that
            is scored (or, with examples, of the train split) lacks a text or an answer, or has another row's id.
        MissingAssets: the scored split's file is absent, or few-shot examples were asked for and the train split's is.
    """
    return {name: _task(benchmark, Path(paths[f"benchmark:{name}"]), num_fewshot) for name, benchmark in benchmarks.items()}


def split_files(folder: Path) -> dict[str, Path]:
    """The splits a benchmark's folder holds, by name."""
    return {split: folder / f"{split}.parquet" for split in SPLITS if (folder / f"{split}.parquet").is_file()}


def file_stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time of each split's file: differs when the rows differ."""
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in split_files(folder).values())


def _task(benchmark: Benchmark, folder: Path, num_fewshot: int) -> ConfigurableTask:
    key = (*(benchmark.name, benchmark.task, benchmark.version, benchmark.report_split, benchmark.metrics), num_fewshot, file_stamp(folder))
    if key not in _TASKS:
        with lm_eval_quietly():
            _TASKS[key] = _build(benchmark, folder, num_fewshot)
    return _TASKS[key]


def _build(benchmark: Benchmark, folder: Path, num_fewshot: int) -> ConfigurableTask:
    config = {k: v for k, v in load_yaml(task_file(benchmark.task)).items() if k not in ("tag", "group", "task_list")}
    _check_definition(benchmark, config)
    config |= _scored_by(benchmark.metrics, config)
    files = split_files(folder)
    if benchmark.report_split not in files:
        raise MissingAssets(
            f"benchmark {benchmark.name}: {folder / (benchmark.report_split + '.parquet')} is missing, the split that is scored. "
            "Run `make assets`, or put the file there"
        )
    if num_fewshot and "train" not in files:
        raise MissingAssets(
            f"suite.num_fewshot={num_fewshot}: benchmark {benchmark.name} takes its examples from {folder / 'train.parquet'}, "
            "which is missing. Put the file there, or use suite.num_fewshot=0"
        )
    for role in _ROLES:
        if config.get(role) not in files:
            config[role] = None
    splits = Splits(benchmark, files, config)
    splits[benchmark.report_split].refuse_unlabelled()
    config["custom_dataset"] = lambda **_: splits.datasets()
    if config.get("process_docs") is not None:
        config["process_docs"] = functools.partial(processed, config["process_docs"], splits)
    task = _made(_Task if num_fewshot else _ZeroShotTask, config, splits)
    task.set_config("num_fewshot", num_fewshot)
    if num_fewshot:
        _check_examples(task, num_fewshot)
    return task


def _scored_by(metrics: Sequence[Metric], config: Definition) -> Definition:
    """The task's list of metrics, with those alone that a benchmark has: others may ask more of the model, and are kept nowhere."""
    listed = config.get("metric_list")
    if listed is None:
        return {}
    kept = [one for one in listed if one["metric"] in metrics]
    said = {one["metric"] for one in kept}
    return {"metric_list": [*kept, *({"metric": m, "aggregation": "mean", "higher_is_better": True} for m in metrics if m not in said)]}


def _made(kind: type[_Task], config: Definition, splits: Splits) -> _Task:
    """The task, its scored rows checked, also where lm-eval's own constructor stumbles over the first of them."""
    task, scored = kind.__new__(kind), splits[splits.benchmark.report_split]
    task.splits = splits
    try:
        ConfigurableTask.__init__(task, config=config)
    except BadInput:
        raise
    except Exception:
        if "features" in vars(task):
            check_docs(task, scored, task.task_docs)
        raise
    check_docs(task, scored, task.task_docs)
    return task


def _check_examples(task: _Task, num_fewshot: int) -> None:
    docs = task.training_docs()
    if len(docs) < num_fewshot:
        raise BadInput(
            f"suite.num_fewshot={num_fewshot}: benchmark {task.splits.benchmark.name} has {len(docs)} rows with an answer in "
            f"{task.splits['train'].file}. Use more rows, or a smaller suite.num_fewshot"
        )


class _Task(ConfigurableTask):
    """lm-eval's task, whose scored rows are read and decoded once and not twice for every model."""

    splits: Splits
    _rows: list[Doc] | None = None
    _train: datasets.Dataset | None = None

    @property
    def eval_docs(self) -> Any:
        if "features" not in vars(self):  # lm-eval's constructor asks the data set itself for its columns
            return super().eval_docs
        if self._rows is None:
            self._rows = list(self.task_docs)
        return self._rows

    def training_docs(self) -> Any:
        """The train split's rows that have an answer, checked where the task is made (its constructor asks before it can be); or null."""
        if self._train is None and self.has_training_docs():
            if "features" not in vars(self):
                return super().training_docs()
            self.splits["train"].say_unlabelled()
            docs = super().training_docs()
            check_docs(self, self.splits["train"], docs)
            self._train = docs
        return self._train


class _ZeroShotTask(_Task):
    """lm-eval's task without the copy of the whole train split that it makes for drawing examples, even when none is drawn."""

    def fewshot_docs(self) -> None:
        return None


def _check_definition(benchmark: Benchmark, config: Definition) -> None:
    """Whether lm-eval's task is the one that the benchmark's YAML describes."""
    installed = f"the installed lm-eval {package_version('lm_eval')}"
    found = (config.get("metadata") or {}).get("version")
    if found is None or float(found) != benchmark.version:
        raise BadInput(
            f"benchmark {benchmark.name}: its YAML pins version {benchmark.version} of lm-eval's task {benchmark.task}, "
            f"{installed} has {found}. Scores of two versions do not compare: install the lm-eval that was pinned, "
            "or change `version` (which starts new evaluations)"
        )
    if config.get("output_type") != "multiple_choice":
        raise BadInput(
            f"benchmark {benchmark.name}: lm-eval's task {benchmark.task} is of type {config.get('output_type')!r}. "
            "Allowed: multiple_choice"
        )
    scored = config.get("test_split") or config.get("validation_split")
    if scored != benchmark.report_split:
        raise BadInput(
            f"benchmark {benchmark.name}: its YAML says report_split={benchmark.report_split}, {installed} scores {scored}. "
            f"Set report_split: {scored}"
        )


@contextlib.contextmanager
def lm_eval_quietly() -> Iterator[None]:
    """lm-eval without progress bars and chatter, compiling each prompt template once and not once a row (20 times faster, same text).

    Nor does `datasets` tell its counter on the network that local rows are read.
    """
    log, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, tqdm, env = log.level, lm_eval.api.task.tqdm, lm_eval.utils.env
    counted, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, False
    compile_template = env.from_string
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = functools.partial(tqdm, disable=True)
    env.from_string = functools.lru_cache(maxsize=256)(compile_template)
    try:
        yield
    finally:
        env.from_string = compile_template
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counted
        lm_eval.api.task.tqdm = tqdm
        if not bars:
            datasets.enable_progress_bars()
        log.setLevel(level)
