"""The prompts around an instruction, by name. A template's text decides numbers, so it is part of a run's identity."""

from __future__ import annotations

from string import Formatter
from typing import Final, Literal, NamedTuple

TemplateName = Literal["author_no_input", "author_with_input", "plain", "chat"]


class Template(NamedTuple):
    """A prompt for a row that has an `input`, and one for a row that has none; where `with_input` is null, `input` is dropped."""

    with_input: str | None
    without_input: str


def fields(text: str) -> list[str]:
    """The columns that a prompt template names in braces, each once; `{{` is a brace.

    Raises:
        ValueError: something in braces is no column's name alone.

    >>> fields("{context}\\nQ: {question} {{a}}")
    ['context', 'question']
    """
    found: dict[str, None] = {}
    try:
        for _, name, form, conversion in Formatter().parse(text):
            if name is None:
                continue
            if not name or form or conversion or set(name) & set(".[]{}"):
                written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                raise ValueError(f"{{{written}}} is no column's name alone")
            found[name] = None
    except ValueError as error:
        raise ValueError(
            f"data.prompt_template: {error}. Allowed: text with names of columns in braces, e.g. 'Q: {{question}}'; write {{{{ for a brace"
        ) from None
    return list(found)


TEMPLATES: Final[dict[TemplateName, Template]] = {
    # The model's own, which is part of its bytes.
    "chat": Template(None, ""),
    # The OLoRA author's example (PEFT, examples/olora_finetuning), indentation included.
    "author_no_input": Template(
        None,
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n"
        "            ### Instruction:\n            {instruction}\n            ### Response:\n            ",
    ),
    # The prompt as it stands, or as data.prompt_template has made it.
    "plain": Template(None, "{instruction}"),
    # Alpaca's two prompts, as in the `text` column of its Hub copy.
    "author_with_input": Template(
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
}
