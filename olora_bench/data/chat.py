"""A conversation as the model's own chat template writes it, with what the assistant says told apart.

Where a template marks the assistant's words with `{% generation %}`, transformers says which characters they are. (Its own mask of
tokens, 5.23, ends at the first answer that begins with a space which the tokenizer leaves out of a token's place.) Under any other, a
turn is what the conversation up to it has more than the one before it with the prompt for an answer, end-of-turn mark included; where
earlier turns are written otherwise than the last one (without their thoughts), what lies where another word put in its place would.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from olora_bench.errors import BadInput

Turns = Sequence[tuple[str, str]]
Spans = list[tuple[int, int]]
STAND_INS = ("ab", "cd")  # no letter in common at either end


def encode_chat(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, as transformers' `apply_chat_template` has them, and which of them the assistant says.

    A token that holds something of both sides of a border is the assistant's.

    Args:
        name: of the conversation, for errors.

    Raises:
        BadInput: as `written`.
    """
    text, spans = written(tokenizer, turns, name)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    said = [any(end > a and start < b for a, b in spans) for start, end in encoded["offset_mapping"]]
    return list(encoded["input_ids"]), said


def written(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str) -> tuple[str, Spans]:
    """The text of a conversation, and where in it the assistant's turns lie.

    Raises:
        BadInput: the tokenizer has no chat template, or is a slow one; the template refuses the conversation, or writes its beginning
            otherwise once it goes on, so that turns cannot be told apart.
    """
    whole = _written(tokenizer, turns, name)
    if not tokenizer.is_fast:
        raise BadInput(
            f"{type(tokenizer).__name__} cannot say where its tokens lie in a text. Conversations need a fast tokenizer (tokenizer.json)"
        )
    template = tokenizer.get_chat_template()
    if re.search(r"\{%-?\s*generation\b", template):
        asked = {"chat_template": template, "return_assistant_tokens_mask": True, **tokenizer.special_tokens_map}
        return whole, [(start, end) for start, end in render_jinja_template([_messages(turns)], **asked)[1][0]]
    found = [(number, _span(tokenizer, turns, number, whole, name)) for number, (role, _) in enumerate(turns) if role == "assistant"]
    if (lost := next((number for number, span in found if span is None), None)) is not None:
        raise BadInput(
            f"conversation {name}: the model's chat template writes the beginning of a conversation otherwise once it goes on (turn "
            f"{lost + 1}), so that what the assistant says cannot be told apart. Allowed: a template that marks it with "
            "{% generation %}, or conversations of one answer"
        )
    return whole, [span for _, span in found if span is not None]


def _span(tokenizer: PreTrainedTokenizerBase, turns: Turns, number: int, whole: str, name: str) -> tuple[int, int] | None:
    """Where a turn of the assistant lies in a conversation: behind the prompt for it, to what closes it; None where that is not clear."""
    before, up_to = _written(tokenizer, turns[:number], name, prompt=True), _written(tokenizer, turns[: number + 1], name)
    if up_to.startswith(before) and whole.startswith(up_to):
        return len(before), len(up_to)
    # A template that thinks (Qwen3's) writes the last answer otherwise than earlier ones. Other words in the turn's place show where it is.
    put = [_with(tokenizer, turns, number, word, name) for word in STAND_INS]
    alone = [_with(tokenizer, turns[: number + 1], number, word, name) for word in STAND_INS]
    after, closing = (_common(*(text[::-1] for text in texts))[::-1] for texts in (put, alone))
    start = before if whole.startswith(before) else _common(*put)
    end = len(whole) - len(after) + len(closing)
    told = put[0] != put[1] and whole.startswith(start) and whole.endswith(after) and after.startswith(closing)
    return (len(start), end) if told and len(start) <= end else None


def _with(tokenizer: PreTrainedTokenizerBase, turns: Turns, number: int, word: str, name: str) -> str:
    """The conversation with another word as one of its turns."""
    return _written(tokenizer, [*turns[:number], (turns[number][0], word), *turns[number + 1 :]], name)


def _common(one: str, other: str) -> str:
    """The beginning that two texts share."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same)


def _messages(turns: Turns) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def _written(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str, *, prompt: bool = False) -> str:
    if not tokenizer.chat_template:
        raise BadInput(
            "data.template=chat needs the model's own chat template, and its tokenizer has none. "
            "Allowed: a model that was tuned to chat, or data=file with data.prompt and data.response"
        )
    try:
        return str(tokenizer.apply_chat_template(_messages(turns), tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template may raise anything
        raise BadInput(
            f"conversation {name}: the model's chat template refuses it ({type(error).__name__}: {error}). Correct the row, or take it out"
        ) from error
