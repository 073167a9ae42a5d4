"""The prompts around an instruction, by name. A template's text decides numbers, so it is part of a run's identity."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

TemplateName = Literal["author_no_input", "author_with_input"]


class Template(NamedTuple):
    """A prompt for a row that has an `input`, and one for a row that has none; where `with_input` is null, `input` is dropped."""

    with_input: str | None
    without_input: str


TEMPLATES: Final[dict[TemplateName, Template]] = {
    # The OLoRA author's example (PEFT, examples/olora_finetuning), indentation included.
    "author_no_input": Template(
        None,
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n"
        "            ### Instruction:\n            {instruction}\n            ### Response:\n            ",
    ),
    # Alpaca's two prompts, as in the `text` column of its Hub copy.
    "author_with_input": Template(
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
}
