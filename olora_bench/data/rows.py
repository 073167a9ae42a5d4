"""The rows of a benchmark, checked before anything is made of them: each has what lm-eval's task reads, and an answer to its choices."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval.utils
import numpy as np
import pyarrow as pa
from jinja2 import meta, nodes
from lm_eval.api.task import ConfigurableTask

from olora_bench.assets.cells import kinds_said, shown, visible
from olora_bench.assets.columns import renaming
from olora_bench.assets.rows import place, read_parquet, source
from olora_bench.config import Benchmark
from olora_bench.data.items import Doc, gold_index, item_id
from olora_bench.errors import BadInput
from olora_bench.process.progress import say

Definition = Mapping[str, Any]
"""The YAML of a task of lm-eval's, its functions among the values."""


class Split:
    """One split of a benchmark: `dataset` holds its rows that have an answer, `rows` says which rows of the file they are.

    Raises:
        BadInput: the file is no Parquet file, has no row, or lacks a column that the task reads.
    """

    def __init__(self, benchmark: Benchmark, file: Path, config: Definition) -> None:
        self.benchmark, self.name, self.file, self.table = benchmark.name, file.stem, file, read_parquet(file)
        if not self.table.num_rows:
            raise BadInput(f"benchmark {benchmark.name}: {file}: there are no rows")
        first = self.table.slice(0, 100).to_pylist()
        for column in [] if config.get("process_docs") else sorted(_named(config, first[0]) - set(self.table.column_names)):
            raise _lacks(self, benchmark.task, column)
        self.task = benchmark.task
        self.answer = _answer_column(config, self.table.schema, first)
        answers = [None] * self.table.num_rows if self.answer is None else self.table[self.answer].to_pylist()
        has = np.array([self.answer is None or not _is_no_answer(a) for a in answers])
        self.rows = np.flatnonzero(has)
        kept = self.table if has.all() else self.table.filter(pa.array(has))
        # In memory, for `datasets` takes a path for a pattern. Its own fingerprint would be a digest of all rows.
        self.dataset = datasets.Dataset(kept.replace_schema_metadata(None), fingerprint=uuid.uuid4().hex)
        self.unlabelled = int(self.table.num_rows - len(self.rows))

    def refuse_unlabelled(self) -> None:
        """Refuse a split that has rows without an answer: one that is scored, or one that has no others to learn from.

        Raises:
            BadInput: names the first of them.
        """
        if self.unlabelled:
            row = int(np.setdiff1d(np.arange(self.table.num_rows), self.rows)[0])
            raise self._bad(
                row,
                f"{self.answer} is {shown(self.table[self.answer][row].as_py())}, which marks a row without an answer. "
                f"{self.unlabelled} of the {self.table.num_rows} rows of this split are such, and it is to be scored or trained on. "
                "Put a split with answers there, or take these rows out",
            )

    def say_unlabelled(self) -> None:
        """Say that rows without an answer are left out.

        Raises:
            BadInput: there are no others.
        """
        if not len(self.rows):
            self.refuse_unlabelled()
        if self.unlabelled:
            rows = f"{self.unlabelled} of the {self.table.num_rows} rows of {source(self.table, self.file)}"
            say(f"benchmark {self.benchmark}: {rows} have no answer in {self.answer}: they are left out")

    def refused(self, number: int, column: str | None, value: Any, problem: str, *, aligned: bool = True) -> BadInput:
        """The error about row `number` of `dataset`; not `aligned`: of those that the task's `process_docs` kept."""
        what = problem if column is None else f"{column} is {shown(value)}, {problem}"
        message = f"{what}. Correct the row, or take it out"
        if aligned:
            return self._bad(int(self.rows[number]), message)
        return BadInput(
            f"benchmark {self.benchmark}: {source(self.table, self.file)}, row {number + 1} of those that lm-eval's task keeps: {message}"
        )

    def _bad(self, row: int, message: str) -> BadInput:
        return BadInput(f"benchmark {self.benchmark}: {place(self.table, self.file, row)}: {message}")


class Splits(dict[str, Split]):
    """A benchmark's splits by name, each read where it is asked for."""

    def __init__(self, benchmark: Benchmark, files: Mapping[str, Path], config: Definition) -> None:
        super().__init__()
        self.benchmark, self._files, self._config = benchmark, files, dict(config)

    def __missing__(self, name: str) -> Split:
        self[name] = split = Split(self.benchmark, self._files[name], self._config)
        return split

    def datasets(self) -> Mapping[str, datasets.Dataset]:
        """What lm-eval takes for a data set."""
        return _Datasets(self)


class _Datasets(dict[str, datasets.Dataset]):
    def __init__(self, splits: Splits) -> None:
        super().__init__()
        self._splits = splits

    def __missing__(self, name: str) -> datasets.Dataset:
        return self._splits[name].dataset


def processed(process: Callable[[Any], Any], splits: Splits, dataset: datasets.Dataset) -> Any:
    """What the task's `process_docs` makes of a split's dataset.

    Raises:
        BadInput: it fails on a row; names the first one.
    """
    try:
        return process(dataset)
    except Exception as error:
        split = next(s for s in splits.values() if s.dataset is dataset)
        number = bisect.bisect_left(range(len(dataset)), True, key=lambda i: _fails(process, dataset.select(range(i + 1))))
        doc = dataset[number]
        if isinstance(error, KeyError) and error.args[0] not in (*doc, *doc.values()):
            raise _lacks(split, split.task, str(error.args[0])) from error
        column = next((c for c, value in doc.items() if _lack(value) == "which is missing"), split.answer)
        problem = f"of which lm-eval's task can make nothing ({type(error).__name__}: {error})"
        raise split.refused(number, column, doc.get(column), problem) from error


def check_docs(task: ConfigurableTask, split: Split, docs: datasets.Dataset) -> None:
    """Refuse docs that lack a text or an answer, or share an id.

    Args:
        docs: of `split`, as the task gives them.

    Raises:
        BadInput: names file, row, column and value of the first one.
    """
    listed = docs.to_list()
    aligned = len(listed) == len(split.rows)
    check = _Check(task, split.answer, listed[0] if listed else {})
    numbers: dict[str, int] = {}
    for number, doc in enumerate(listed):
        if (fault := check.fault(doc)) is not None:
            raise split.refused(number, *fault, aligned=aligned)
        if (first := numbers.setdefault(item_id(doc, split.name, number), number)) != number:
            column = "id" if "id" in doc else "idx"
            same = f"as it is in row {int(split.rows[first]) + 1 if aligned else first + 1}; ids tell items apart"
            raise split.refused(number, column, doc[column], same, aligned=aligned)
    if check.alike:
        rows = f"{check.alike} of the {len(listed)} rows of {source(split.table, split.file)}"
        say(f"benchmark {split.benchmark}: {rows} have choices that are all the same text: they stay in, and no model can tell them apart")


class _Check:
    """What is looked at in each doc of a task."""

    def __init__(self, task: ConfigurableTask, answer: str | None, first: Doc) -> None:
        self.task, self.answer = task, answer
        config = {key: getattr(task.config, key) for key in ("doc_to_text", "doc_to_choice")}
        self.choices_from = [c for c in _read(config["doc_to_choice"], first)[1] if c in first and c != answer]
        bare = {*_bare(config["doc_to_text"], first), *(self.choices_from if callable(config["doc_to_choice"]) else ())}
        self.texts = [c for c in first if c in bare and c != answer]
        read = {*self.choices_from, *_read(task.config.doc_to_target, first)[1]}
        self.keyed = [c for c in first if c in read and isinstance(first[c], dict) and {"text", "label"} <= first[c].keys()]
        self.alike = 0

    def fault(self, doc: Doc) -> tuple[str | None, Any, str] | None:
        """The column that is wrong, its value and what is wrong with it, or null. Counts the rows whose choices are all alike."""
        for column in self.texts:
            if (lack := _lack(doc[column])) is not None:
                return column, doc[column], lack
        for column in self.keyed:
            if doc[column] is not None and (odd := _odd_keys(doc[column]["text"], doc[column]["label"])) is not None:
                return f"{column}.label", doc[column]["label"], odd
        try:
            choices = self.task.doc_to_choice(doc)
        except Exception as error:
            return *self._blamed(doc), f"of which no choices can be made ({type(error).__name__}: {error})"
        if lack := next((lack for choice in choices if (lack := _lack(choice)) is not None), None):
            return *self._blamed(doc), f"so that one of its choices {lack.removeprefix('which ')}"
        if not self._answers(doc, choices):
            value = None if self.answer is None else doc[self.answer]
            return self.answer, value, f"which answers none of its {len(choices)} choices{self._allowed(doc, choices)}"
        self.alike += len(choices) > 1 and all(choice == choices[0] for choice in choices)
        return None

    def _answers(self, doc: Doc, choices: list[str]) -> bool:
        try:
            gold_index(self.task, doc, choices)
        except Exception:
            return False
        return True

    def _takes(self, doc: Doc, choices: list[str]) -> bool:
        """As `_answers`, also where lm-eval's constructor stumbled before it knew that the contexts are the choices, as WinoGrande's."""
        try:
            position = self.task.doc_to_text(doc)
        except Exception:
            return False
        return 0 <= position < len(choices) if type(position) is int else self._answers(doc, choices)

    def _blamed(self, doc: Doc) -> tuple[str | None, Any]:
        column = next((c for c in self.choices_from if _lack(doc[c]) is not None), next(iter(self.choices_from), None))
        return column, None if column is None else doc[column]

    def _allowed(self, doc: Doc, choices: list[str]) -> str:
        """The answers that the task takes for this row, found by trying the row's own keys, numbers and figures."""
        if self.answer is None:
            return ""
        numbers = range(len(choices) + 1)
        families: list[list[Any]] = [[str(n) for n in numbers], list(numbers)] if isinstance(doc[self.answer], str) else []
        families = [doc[c]["label"] for c in self.keyed] or families or [list(numbers), [str(n) for n in numbers]]
        taken = ([one for one in family if self._takes({**doc, self.answer: one}, choices)] for family in families)
        allowed: list[Any] = next(filter(None, taken), [])
        if not allowed:
            return ""
        kind = type(doc[self.answer])
        typed = f" ({kinds_said(allowed[0])}; the column has {kinds_said(doc[self.answer])})" if kind is not type(allowed[0]) else ""
        return f". Allowed: {', '.join(map(repr, allowed))}{typed}"


def _odd_keys(texts: Any, keys: Any) -> str | None:
    """What is wrong with the keys of a row's choices, or null."""
    if not isinstance(texts, list) or not isinstance(keys, list):
        return None
    if len(keys) != len(texts):
        return f"{len(keys)} keys for the {len(texts)} choices of its text"
    twice = next((key for n, key in enumerate(keys) if key in keys[:n]), None)
    return None if twice is None else f"where {shown(twice)} names {keys.count(twice)} choices and each needs a key of its own"


def _answer_column(config: Definition, schema: pa.Schema, rows: Sequence[Doc]) -> str | None:
    """The column that holds the answer, where the task's definition shows which one it is."""
    if callable(config.get("doc_to_text")):  # it may give the position of the right one of several contexts, as WinoGrande's does
        tried = [_read(config["doc_to_text"], row) for row in rows]
        made, read = next((one for one in tried if not isinstance(one[0], Exception)), tried[0])
        if read and (type(made) is int or isinstance(made, Exception)):
            return read[-1]
    flat = {one.name for one in schema if not pa.types.is_nested(one.type)}
    named = flat & set(_read(config.get("doc_to_target"), rows[0])[1])
    return named.pop() if len(named) == 1 else None


def _named(config: Definition, row: Doc) -> set[str]:
    """The columns that the prompt's definitions name."""
    return {column for key in ("doc_to_text", "doc_to_target", "doc_to_choice") for column in _read(config.get(key), row)[1]}


def _lacks(split: Split, task: str, column: str) -> BadInput:
    step = renaming([column], split.table.column_names) or ". Put the data set's own columns there"
    return BadInput(
        f"benchmark {split.benchmark}: the rows of {source(split.table, split.file)} lack the field {column} "
        f"that lm-eval's task {task} reads. Found: {', '.join(map(visible, split.table.column_names))}{step}"
    )


class _Recorded(dict[str, Any]):
    """A row that notes which columns are read."""

    def __init__(self, row: Doc) -> None:
        super().__init__(row)
        self.read: list[str] = []

    def __getitem__(self, column: str) -> Any:
        self.read.append(column)
        return super().__getitem__(column)


def _read(definition: Any, row: Doc) -> tuple[Any, list[str]]:
    """What a task's function makes of a row (or the error), or null for a template; and the columns that it reads."""
    if callable(definition):
        recorded = _Recorded(row)
        try:
            return definition(recorded), recorded.read
        except Exception as error:
            return error, recorded.read
    if not isinstance(definition, str):
        return None, []
    if definition.isidentifier():
        return None, [definition]
    return None, sorted(meta.find_undeclared_variables(lm_eval.utils.env.parse(definition)))


def _bare(definition: Any, row: Doc) -> set[str]:
    """The columns that a template prints as they are, whatever they hold, and so must hold something."""
    if not isinstance(definition, str):
        return set()
    if definition in row:
        return {definition}
    tree = lm_eval.utils.env.parse(definition)
    if any(True for _ in tree.find_all((nodes.If, nodes.CondExpr))):
        return set()
    return {one.name for output in tree.find_all(nodes.Output) for one in output.nodes if isinstance(one, nodes.Name)}


def _is_no_answer(value: Any) -> bool:
    """Whether a cell marks a row without an answer: -1 as in SuperGLUE and PIQA, blank as in HellaSwag and WinoGrande, or null."""
    return value is None or value == -1 or (isinstance(value, str) and value.strip() in ("", "-1"))


def _lack(value: Any) -> str | None:
    """What a cell lacks, or null; a list or object lacks what one of its own values lacks."""
    if value is None:
        return "which is missing"
    if isinstance(value, str):
        return None if value and not value.isspace() else "which is blank"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((lack for one in inner if (lack := _lack(one)) is not None), None)


def _fails(process: Callable[[Any], Any], dataset: datasets.Dataset) -> bool:
    try:
        process(dataset)
    except Exception:
        return True
    return False
