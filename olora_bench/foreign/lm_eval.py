"""What lm-eval 0.4.0 and later writes: one results file an evaluation, with samples beside it where they were asked for.

0.4.0 to 0.4.2   OUT/results.json (or a file of any name), OUT/<model_args>_<task>.jsonl: an array, in spite of its name
since 0.4.3      OUT/<model>/results_<date>.json, OUT/<model>/samples_<task>_<date>.jsonl: one object a line
since 0.4.8      with --output_path FILE.json: FILE_<date>.json, samples beside it
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from olora_bench.config import load_benchmark, options
from olora_bench.errors import BadInput
from olora_bench.foreign.choice import refuse_unknown
from olora_bench.foreign.columns import is_name
from olora_bench.foreign.files import Digest, files_below, json_object, json_rows, shown
from olora_bench.formats import Unreadable
from olora_bench.store.item_source import source_of
from olora_bench.store.sealed import sha256

_DATE = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.json$")
_NO_RESULTS = re.compile(
    r"^(samples_.*|tokenizer.*|.*config.*|.*index|trainer_state|special_tokens_map|vocab|added_tokens|record|all_results|train_results)\.json$"
)


class NoAnswers(BadInput):
    """A task whose metric says nothing right or wrong of an item. The message names the task, the metric and its value."""


_NO_METRIC = ("alias", "name", "sample_len", " ")


@dataclass(frozen=True)
class Task:
    """A task of a results file.

    Attributes:
        metric, filter: what it is judged by, e.g. `acc` and `none`; `filters` are all that it was read by, in lm-eval's order.
        score: in the file; None where it is no finite number.
        items: how many it is the mean over; None where the file does not say and it cannot be told.
        samples: the file with its items; None where there is none.
    """

    name: str
    metric: str
    filter: str
    filters: tuple[str, ...]
    score: float | None
    items: int | None
    version: str | None
    fewshot: int | None
    samples: Path | None


@dataclass(frozen=True)
class Results:
    """A results file.

    Attributes:
        written: its date, as in its name; empty in files of 0.4.0 to 0.4.2.
        base: the base model that an adapter was put on (`peft=` of the model's arguments); None where that is not said.
        harness: e.g. `lm-eval 0.4.13`.
        unusable: task -> why it cannot be judged.
        metrics: task -> the metrics that it has here.
    """

    path: Path
    sha256: str
    written: str
    base: str | None
    harness: str | None
    tasks: Mapping[str, Task]
    unusable: Mapping[str, str]
    metrics: Mapping[str, Sequence[str]]


@dataclass
class Items:
    """The items of a task, a list entry each; `correct` is 1, 0, or NaN where it is not known."""

    item: list[str] = field(default_factory=list)
    doc_id: list[int] = field(default_factory=list)
    prompt: list[str | None] = field(default_factory=list)
    source: list[str | None] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    sha256: str = ""


def results_below(root: Path, metrics: Mapping[str, str] | None = None) -> list[Results]:
    """Every results file below a folder, or the one at a path, by path.

    Args:
        metrics: task -> metric, `acc` or `exact_match,strict-match`.

    Raises:
        Unreadable: a file that is named as results are cannot be read.
    """
    paths = [root] if root.is_file() else [path for path in files_below(root, (".json",)) if not _NO_RESULTS.match(path.name)]
    return [found for path in paths if (found := _results(path, metrics or {}, sure=root.is_file())) is not None]


def _results(path: Path, metrics: Mapping[str, str], *, sure: bool) -> Results | None:
    try:
        raw, digest = json_object(path)
    except Unreadable:
        if sure or path.name.startswith("results"):
            raise
        return None
    if not isinstance(raw.get("results"), dict) or not isinstance(raw.get("configs", raw.get("versions")), dict):
        if sure:
            raise Unreadable(path, "no results of lm-eval (0.4.0 or later): it has no `results` and `configs`")
        return None
    if odd := [name for task in _task_names(raw) for name in (task, *_metrics(raw, task)) if not is_name(name)]:
        raise Unreadable(path, f"{odd[0]!r} is no name of a task or metric: printable text that does not begin with = + - @")
    tasks, unusable = dict[str, Task](), dict[str, str]()
    for name in _task_names(raw):
        found = _task(name, raw, path, metrics)
        if isinstance(found, str):
            unusable[name] = found
        else:
            tasks[name] = found
    base = _base(_table(raw, "config").get("model_args"))
    date = _DATE.search(path.name)
    there = {name: _metrics(raw, name) for name in _task_names(raw)}
    return Results(path, digest, date[1] if date else "", base, _harness(raw), tasks, unusable, there)


def check_metrics(option: str, metrics: Mapping[str, str], results: Iterable[Results]) -> None:
    """Refuse a task that no run has, and a metric that no run has of it.

    Raises:
        BadInput: names those that are there.
    """
    there: dict[str, dict[str, None]] = {}
    for one in results:
        for task, own in one.metrics.items():
            there.setdefault(task, {}).update(dict.fromkeys(own))
    refuse_unknown(option, metrics, there)
    for task, metric in metrics.items():
        if not any(metric in (key, key.split(",")[0]) for key in there[task]):
            raise BadInput(f"{option}: no run has a metric {metric} of {task}. There: {', '.join(there[task]) or 'none'}")


def _table(raw: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _task_names(raw: Mapping[str, object]) -> list[str]:
    groups = {name for name, inner in _table(raw, "group_subtasks").items() if inner} | set(_table(raw, "groups"))
    return [name for name, values in _table(raw, "results").items() if isinstance(values, dict) and name not in groups]


def _metrics(raw: Mapping[str, object], task: str) -> list[str]:
    values = _table(_table(raw, "results"), task)
    return [key for key in values if "," in key and "_stderr," not in key and key.split(",")[0] not in _NO_METRIC]


def _task(name: str, raw: Mapping[str, object], path: Path, metrics: Mapping[str, str]) -> Task | str:
    values, there = _table(_table(raw, "results"), name), _metrics(raw, name)
    wanted = metrics.get(name)
    named = [key for key in there if (wanted or primary(name)) in (key, key.split(",")[0])]
    if not there or (wanted and not named):
        return f"no metric{f' {wanted}' if wanted else ''} among {', '.join(there) or 'none'}"
    chosen = (named or there)[0]
    metric, _, rule = chosen.partition(",")
    if _table(_table(raw, "higher_is_better"), name).get(metric) is False:
        return f"{metric}: less is better, and nothing is right or wrong"
    given = values[chosen]
    score = given if isinstance(given, int | float) else None
    if score is not None and not 0 <= score <= 1:
        return f"{metric} {shown(score, 20)} is no share of right answers"
    shots = _table(raw, "n-shot").get(name, _table(_table(raw, "configs"), name).get("num_fewshot"))
    version = _table(raw, "versions").get(name)
    rules = tuple(dict.fromkeys(key.partition(",")[2] for key in there))
    return Task(name, metric, rule, rules, score, _count(values, chosen, raw, name), None if version is None else shown(version),
                shots if isinstance(shots, int) else None, _samples(path, name, raw))  # fmt: skip


@cache
def _primaries() -> dict[str, str]:
    return {one.task: one.metrics[0] for one in map(load_benchmark, options("benchmark"))}


def primary(task: str) -> str | None:
    """The metric that this package judges a task by; None of a task that it does not know: then the first one that lm-eval lists."""
    return _primaries().get(task)


def _count(values: Mapping[str, object], chosen: str, raw: Mapping[str, object], name: str) -> int | None:
    """How many items a score is over: what the file says, else what its standard error says, sqrt(p (1 - p) / (n - 1))."""
    said = _table(_table(raw, "n-samples"), name).get("effective")
    if isinstance(said, int) and said > 0:
        return said
    score, error = values[chosen], values.get(chosen.replace(",", "_stderr,", 1))
    if not (isinstance(score, float) and isinstance(error, float) and 0 < score < 1 and error > 0):
        return None
    count = score * (1 - score) / error**2 + 1
    near = round(count)
    return near if abs(count - near) < 1e-3 and abs(score * near - round(score * near)) < 1e-6 else None


def _samples(path: Path, task: str, raw: Mapping[str, object]) -> Path | None:
    date = _DATE.search(path.name)
    if date:
        names = [f"samples_{task}_{date[1]}.jsonl", f"samples_{task}_{date[1]}.json"]
    else:
        given = _table(raw, "config").get("model_args")
        before = re.sub("/|=", "__", given if isinstance(given, str) else "")
        names = [f"{before}_{task}.jsonl"]
    return next((path.parent / name for name in names if "/" not in name and _lies_there(path.parent / name)), None)


def _lies_there(path: Path) -> bool:
    """Whether anything lies there; false also for a name that no file system takes."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _base(given: object) -> str | None:
    """The base that a model's arguments put an adapter on; None where that is not said, as of a whole model."""
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(","))
    known = isinstance(given, dict) and given.get("peft") and given.get("pretrained")
    return shown(known) if known else None


def _harness(raw: Mapping[str, object]) -> str | None:
    version = raw.get("lm_eval_version") or raw.get("git_hash")
    return f"lm-eval {shown(version)}" if version else None


def items_of(results: Results, task: Task, known: dict[str, str] | None = None) -> Items:
    """The items of a task, in the order of their documents.

    Args:
        known: texts kept once for many runs.

    Raises:
        Unreadable: the file is damaged, half-written, or not of these results; names the line, and what to do.
        NoAnswers: the metric says nothing right or wrong of an item.
    """
    assert task.samples is not None
    path, digest, found, once = task.samples, Digest(), Items(), {} if known is None else known
    places: dict[str, int] = {}
    for number, row in enumerate(_of_filter(json_rows(path, digest), task), 1):
        doc_id = row.get("doc_id")
        if task.metric not in row or not isinstance(doc_id, int) or not 0 <= doc_id < 2**53:
            raise Unreadable(path, f"row {number} has no {task.metric if task.metric not in row else 'whole number doc_id'}")
        document = _document(row)
        found.item.append(once.setdefault(document, document))
        found.doc_id.append(doc_id)
        prompt = _prompt(row)
        found.prompt.append(None if prompt is None else once.setdefault(prompt, prompt))
        source = source_of(doc) if isinstance(doc := row.get("doc"), dict) else None
        found.source.append(None if source is None else once.setdefault(source, source))
        found.correct.append(_value(row[task.metric], task))
    _as_counted(found, results, task)
    order = np.argsort(found.doc_id, kind="stable").tolist()
    ids = [found.item[place] for place in order]
    for place, (document, doc_id) in enumerate(zip(ids, (found.doc_id[one] for one in order), strict=True)):
        first = places.setdefault(document, doc_id)
        if first != doc_id:  # one text at two places of the data is two items
            ids[place] = once.setdefault(f"{document}-{doc_id}", f"{document}-{doc_id}")
    docs, prompts, sources = ([column[place] for place in order] for column in (found.doc_id, found.prompt, found.source))
    return Items(ids, docs, prompts, sources, [found.correct[place] for place in order], digest.text)


def _of_filter(rows: Iterator[dict[str, object]], task: Task) -> Iterator[dict[str, object]]:
    """The rows of the task's filter. Before 0.4.5 rows do not say theirs, and every filter lists all documents again."""
    seen: Counter[object] = Counter()
    for row in rows:
        if "filter" in row or len(task.filters) == 1:
            if row.get("filter", task.filter) == task.filter:
                yield row
            continue
        seen[row.get("doc_id")] += 1
        if task.filters[(seen[row.get("doc_id")] - 1) % len(task.filters)] == task.filter:
            yield row


def _document(row: Mapping[str, object]) -> str:
    digest = row.get("doc_hash")
    if not isinstance(digest, str) or not digest:  # before 0.4.3; as lm-eval makes it since
        digest = sha256(json.dumps(row.get("doc"), indent=2, ensure_ascii=False).encode())
    return digest[:16]


def _prompt(row: Mapping[str, object]) -> str | None:
    digest = row.get("prompt_hash")
    if not isinstance(digest, str):
        given = row.get("arguments")
        first = given[0] if isinstance(given, list) and given else None
        if not isinstance(first, list) or not first or not isinstance(first[0], str):
            return None
        digest = sha256(first[0].encode())
    return digest[:16]


def _value(value: object, task: Task) -> float:
    if value is None or value != value:
        return float("nan")
    if isinstance(value, int | float) and value in (0, 1):
        return float(value)
    raise NoAnswers(f"{task.name}: {task.metric} of an item is {shown(value)}, neither right (1) nor wrong (0): judge it by another metric")


def _as_counted(found: Items, results: Results, task: Task) -> None:
    """The items are those that the results were counted over."""
    distinct = len(set(zip(found.item, found.doc_id, strict=True)))
    if task.items is not None and distinct != task.items:
        raise Unreadable(task.samples or results.path, f"{distinct} items, and {results.path.name} counts {task.items}: half-written?")
    known = [value for value in found.correct if value == value]
    if task.score is None or len(known) < len(found.correct) or distinct < len(known) or not known:
        return
    mean = sum(known) / len(known)
    if abs(mean - task.score) > 1e-6:
        what = f"its items come to {task.metric} {mean:.6f}, and {results.path.name} says {task.score:.6f}: not of one evaluation"
        raise Unreadable(task.samples or results.path, what)
