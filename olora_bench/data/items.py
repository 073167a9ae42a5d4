"""One item of a benchmark or an instruction file as text: prompt, gold response, and what is compared for overlap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.task import ConfigurableTask

from olora_bench.config.templates import TEMPLATES, TemplateName

Doc = Mapping[str, Any]
"""A row as it lies in a data set's file; lm-eval's name for it."""

_FRAME = re.compile(r"^Question:|Answer:\s*$")


@dataclass(frozen=True)
class Item:
    """Text of one item. `context` and `continuation` are what is tokenised; `query` and `rest` are what overlap is judged on.

    `turns` are those of a conversation, (role, text), which the model's own chat template writes; then there is no context.
    """

    id: str
    group: str
    context: str
    continuation: str
    query: str
    rest: str
    turns: tuple[tuple[str, str], ...] = ()


def item_id(doc: Doc, split: str, row: int) -> str:
    """The dataset's own id of a row, made unique: ARC's and OpenBookQA's `id`, BoolQ's `idx`, HellaSwag's `ind` with the row, else the row.

    >>> item_id({"id": "Mercury_417466"}, "test", 3), item_id({"idx": {"passage": 7, "question": 9}}, "validation", 3)
    ('Mercury_417466', 'validation-7-9')
    >>> item_id({"ind": 24}, "validation", 3), item_id({"goal": "x"}, "train", 3)
    ('validation-24-3', 'train-3')
    """
    if "id" in doc:
        return str(doc["id"])
    if "idx" in doc:
        idx = doc["idx"]
        return f"{split}-{idx['passage']}-{idx['question']}" if isinstance(idx, Mapping) else f"{split}-{idx}"
    if "ind" in doc:
        return f"{split}-{doc['ind']}-{row}"
    return f"{split}-{row}"


def gold_index(task: ConfigurableTask, doc: Doc, choices: Sequence[str] | None = None) -> int:
    """The position of the right choice, read as lm-eval's `process_results` reads it.

    Args:
        choices: the doc's, where they are known.

    Raises:
        ValueError: the answer is none of the choices, or no position of one.
    """
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    choices = task.doc_to_choice(doc) if choices is None else choices
    position = list(choices).index(gold) if isinstance(gold, str) else gold
    if type(position) is not int or not 0 <= position < len(choices):
        raise ValueError(f"{gold!r} is no position of {len(choices)} choices")
    return position


def benchmark_item(task: ConfigurableTask, group: str, doc: Doc, split: str, row: int) -> Item:
    """A row in its benchmark's own prompt form, zero-shot: context and gold continuation are the request that lm-eval would score."""
    contexts = task.fewshot_context(doc, 0)
    requests = task.construct_requests(doc=doc, ctx=contexts, metadata=(group, row, 1))
    context, continuation = requests[gold_index(task, doc)].args
    if task.multiple_input:  # the choices are in the contexts (WinoGrande): the first one stands for the question
        query, rest = requests[0].args[0] + continuation, ""
    else:
        query, rest = _FRAME.sub("", context), "".join(request.args[1] for request in requests)
    return Item(item_id(doc, split, row), group, context, continuation, query, rest)


def benchmark_items(task: ConfigurableTask, group: str, split: str, docs: Iterable[Doc]) -> Iterator[Item]:
    """The items of a split, in its order."""
    for row, doc in enumerate(docs):
        yield benchmark_item(task, group, doc, split, row)


def instruction_item(template: TemplateName, group: str, doc: Doc, split: str, row: int) -> Item:
    """An Alpaca row under a template; one that drops `input` drops it from what overlap is judged on too. A conversation as it is."""
    if template == "chat":
        turns = tuple((turn["role"], turn["content"]) for turn in doc["messages"])
        said = {
            role == "assistant": "\n".join(text for who, text in turns if (who == "assistant") == (role == "assistant"))
            for role, _ in turns
        }
        return Item(f"{split}-{row}", group, "", "", said.get(False, ""), said.get(True, ""), turns)
    instruction, given = doc["instruction"], doc["input"]
    prompts = TEMPLATES[template]
    if given and prompts.with_input is not None:
        context, query = prompts.with_input.format(instruction=instruction, input=given), f"{instruction}\n{given}"
    else:
        context, query = prompts.without_input.format(instruction=instruction), instruction
    return Item(f"{split}-{row}", group, context, doc["output"], query, doc["output"])
