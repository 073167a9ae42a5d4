"""lm-eval's own tasks as benchmarks by their names, read from the YAML files of its package: nothing of it is imported or run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from olora_bench.config.schema import Benchmark, Group, Metric
from olora_bench.errors import BadInput

Definition = dict[str, Any]
"""What a task's YAML says."""
METRICS: tuple[Metric, ...] = ("acc", "acc_norm")
"""What is kept of a task's metrics; where its YAML lists none, lm-eval takes both for multiple choice."""
SPLITS = ("test", "validation")
NO_REPOSITORY = ("json", "csv", "parquet", "text", "arrow")
"""Builders of the `datasets` library that read files a task names, and no repository."""
DEEPEST = 8


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML whose functions are left as they are named."""


_Loader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))


class _Function(str):
    """The name of a function in a task's YAML."""


@cache
def _files() -> tuple[str, ...]:
    found = find_spec("lm_eval")
    places = [] if found is None else list(found.submodule_search_locations or ())
    roots = [os.path.join(place, "tasks") for place in places]  # noqa: PTH118
    return tuple(os.path.join(at, name) for root in roots for at, _, names in os.walk(root) for name in names if name.endswith(".yaml"))  # noqa: PTH118


@cache
def _file_of(kind: str, name: str) -> Path | None:
    """The file that defines a task or a group. lm-eval's TaskManager would parse all 14,000 of its files first, which takes 14 s."""
    line = re.compile(rb"^['\"]?" + kind.encode() + rb"['\"]?:\s*['\"]?" + re.escape(name.encode()) + rb"['\"]?\s*(#.*)?$", re.MULTILINE)
    for path in sorted(_files(), key=lambda p: (name not in p, len(p), p)):
        if line.search(Path(path).read_bytes()):
            return Path(path)
    return None


def task_file(task: str) -> Path:
    """The file that defines an lm-eval task.

    Raises:
        BadInput: the installed lm-eval has no such task.
    """
    found = _file_of("task", task)
    if found is None:
        raise BadInput(f"lm-eval {version('lm_eval')} has no task {task!r}. `lm-eval ls tasks` prints those it has")
    return found


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks of one of lm-eval's groups, groups in it written out; the name itself where it is none.

    Raises:
        BadInput: the group changes its tasks, so that their names alone do not say them.
    """
    return tuple(dict.fromkeys(_members(name, 0)))


def groups_of(name: str) -> dict[str, Group]:
    """One of lm-eval's groups and those in it, outer ones first, each with its tasks and its means; empty where the name is none.

    Raises:
        BadInput: as `tasks_of`.
    """
    return dict(_groups(name, 0))


def _groups(name: str, depth: int) -> Iterator[tuple[str, Group]]:
    path = _file_of("group", name) if depth < DEEPEST else None
    if path is None:
        return
    said = _definition(path)
    yield name, Group(tasks=tasks_of(name), weighted=dict(_means(said.get("aggregate_metric_list"))))
    listed = said.get("task")
    for one in [listed] if isinstance(listed, str) else listed or []:
        if not _tagged(one, path.parent):
            yield from _groups(one, depth + 1)


def _means(listed: Any) -> Iterator[tuple[Metric, bool]]:
    """The metrics that a group has as means of what no filter has changed."""
    for one in listed if isinstance(listed, list) else []:
        metric, filters = one.get("metric"), one.get("filter_list") or "none"
        if (
            metric in METRICS
            and one.get("aggregation", "mean") == "mean"
            and "none" in ([filters] if isinstance(filters, str) else filters)
        ):
            yield metric, bool(one.get("weight_by_size", True))


def _members(name: str, depth: int) -> Iterator[str]:
    path = _file_of("group", name) if depth < DEEPEST else None
    if path is None:
        yield name
        return
    listed = _definition(path).get("task")
    for one in [listed] if isinstance(listed, str) else listed or []:
        if not isinstance(one, str):
            raise BadInput(f"lm-eval's group {name} changes the tasks in it ({path.name}). Name its tasks themselves: `lm-eval ls tasks`")
        yield from _tagged(one, path.parent) or _members(one, depth + 1)


@cache
def _tagged(tag: str, folder: Path) -> tuple[str, ...]:
    """The tasks below a group's folder that bear a tag."""
    line = re.compile(rb"^['\"]?tag['\"]?:\s*(\n\s*-\s*)?['\"]?" + re.escape(tag.encode()) + rb"['\"]?\s*$", re.MULTILINE)
    bearing = [path for path in sorted(folder.rglob("*.yaml")) if line.search(path.read_bytes())]
    return tuple(str(task) for path in bearing if isinstance(task := _definition(path).get("task"), str))


@cache
def _definition(path: Path, depth: int = 0) -> Definition:
    """What a task's file says, with what it includes, which it overrides."""
    found = yaml.load(path.read_bytes(), Loader=_Loader)
    if not isinstance(found, dict) or depth > DEEPEST:
        return {}
    included = found.pop("include", None) or []
    base: Definition = {}
    for one in [included] if isinstance(included, str) else included:
        base |= _definition(path.parent / one, depth + 1)
    return base | found


def described_task(name: str) -> Benchmark | None:
    """One of lm-eval's multiple-choice tasks as a benchmark; None where the installed lm-eval has none of that name.

    Its metrics, version, split and repository are the task's own; chance is that of its list of choices, where it has one, else of the
    items that are scored. How many there are is known where its rows are.

    Raises:
        BadInput: it is no multiple-choice task, or is scored otherwise than a benchmark here can be; says what it would take.
    """
    path = _file_of("task", name) if re.fullmatch(r"[\w.+-]+", name) else None
    if path is None:
        return None
    said = _definition(path)
    if (why := next(_unfit(said), None)) is not None:
        raise BadInput(f"lm-eval's task {name} {why}")
    config = said.get("dataset_name")
    choices = said.get("doc_to_choice")
    described = {
        "name": name, "task": name, "version": said["metadata"]["version"], "metrics": _metrics(said), "report_split": _scored(said),
        "items": None, "chance": 1 / len(choices) if isinstance(choices, list) and len(choices) > 1 else None,
        "licence": f"as https://huggingface.co/datasets/{said['dataset_path']} says", "local": name,
        "hub": {"id": said["dataset_path"], "config": None if config is None else str(config)},
    }  # fmt: skip
    try:
        return Benchmark.model_validate(described)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise BadInput(f"lm-eval's task {name} cannot be a benchmark: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error


def is_lm_evals(benchmark: Benchmark) -> bool:
    """Whether a benchmark is described by lm-eval alone, and has no YAML."""
    try:
        return described_task(benchmark.name) == benchmark
    except BadInput:
        return False


def _unfit(said: Definition) -> Iterator[str]:
    kind, own = said.get("output_type"), "write conf/benchmark/NAME.yaml for it (docs/adding.md)"
    if kind != "multiple_choice":
        yield f"is of type {kind}. Allowed: multiple_choice"
    if not _metrics(said):
        named = ", ".join(str(one.get("metric")) for one in said.get("metric_list") or ())
        yield (
            f"is scored by {named}. Allowed: tasks scored by {' or '.join(METRICS)}, the share of items answered right, which verdicts "
            f"over items take; to score this one by them, {own}"
        )
    if _scored(said) not in SPLITS:
        yield f"is scored on its split {_scored(said)}. Allowed: {' or '.join(SPLITS)}"
    if not isinstance((said.get("metadata") or {}).get("version"), int | float):
        yield f"names no version of itself, by which scores are told apart. Allowed: a task with metadata.version; {own}"
    if not isinstance(said.get("dataset_path"), str) or said["dataset_path"] in NO_REPOSITORY:
        yield f"reads its rows from {said.get('dataset_path')}, which is no repository of the Hub. Allowed: a task with one; {own}"


def _metrics(said: Definition) -> list[str]:
    """In the task's order: the first is primary."""
    listed = said.get("metric_list")
    return list(METRICS) if listed is None else [one["metric"] for one in listed if one.get("metric") in METRICS]


def _scored(said: Definition) -> str:
    return str(said.get("test_split") or said.get("validation_split"))
