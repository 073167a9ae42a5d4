"""Text to tokens: what is trained is the text as written; what is scored is cut between prompt and answer as lm-eval cuts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transformers import BatchEncoding, PreTrainedTokenizerBase

from olora_bench.errors import BadInput
from olora_bench.models import SpecialTokens, special_tokens

Pair = tuple[str, str]
Encoded = tuple[list[int], list[int]]

_AT_ONCE = 4096  # texts; an encoding with its offsets takes some 100 bytes a token


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[Encoded]:
    """Tokens of each (prompt, answer) as they are trained: together they are those of the text as written.

    White space at the end of a prompt belongs to the answer, and so does a token that holds something of both. BOS stands in front where
    the tokenizer puts it, unless the text starts with it already; EOS is nowhere.

    Returns:
        (prompt ids, answer ids) of each pair. One of them may be empty.

    Raises:
        BadInput: see `special_tokens`; an empty prompt where the tokenizer has neither BOS nor EOS.
    """
    return [(one.whole[: one.border], one.whole[one.border :]) for one in _encoded(tokenizer, pairs)]


def encode_requests(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> tuple[list[Encoded], list[bool]]:
    """Tokens of each (context, continuation) as they are scored: lm-eval's `TemplateLM.loglikelihood`, without an EOS after a text.

    The context is tokenised alone, and the continuation is what the whole text has after as many tokens. Where the two merge at the border
    this loses, doubles or changes tokens; it is what lm-eval's published numbers are made of.

    Returns:
        (context ids, continuation ids) of each pair, the continuation's empty where it adds no token; and whether the context's tokens are
        others than those that the whole text begins with.

    Raises:
        BadInput: as `encode_pairs`.
    """
    found = list(_encoded(tokenizer, pairs))
    merged = [one.whole[: len(one.context)] != one.context for one in found]
    return [(one.context, one.whole[len(one.context) :]) for one in found], merged


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Tokens of prompts that are to be answered: the beginning of what is trained.

    White space at the end is left to the answer, but for what the tokenizer holds in one token with what stands before it.
    """
    special = special_tokens(tokenizer)
    whole: list[list[int]] = _plain(tokenizer, prompts)["input_ids"]
    ends, left, found = [len(prompt.rstrip()) for prompt in prompts], list(range(len(prompts))), dict[int, list[int]]()
    while left:
        tried = _plain(tokenizer, [prompts[i][: ends[i]] for i in left])["input_ids"]
        found |= {i: ids for i, ids in zip(left, tried, strict=True) if whole[i][: len(ids)] == ids}
        left = [i for i in left if i not in found]
        for i in left:
            ends[i] += 1
    return [_begun(tokenizer, special, prompt, found[i]) or [_stand_in(tokenizer, special)] for i, prompt in enumerate(prompts)]


def lost(ids: Sequence[int], room: int, begin: int | None) -> slice:
    """What is taken out where only `room` tokens fit: the beginning, but not the BOS in front of it.

    >>> lost([1, 5, 6, 7, 8], 3, begin=1), lost([5, 6, 7, 8], 3, begin=1), lost([1, 5], 3, begin=1)
    (slice(1, 3, None), slice(0, 1, None), slice(1, 1, None))
    """
    kept = int(begin is not None and len(ids) > 0 and ids[0] == begin)
    return slice(kept, kept + max(0, len(ids) - room))


def last_tokens(ids: list[int], room: int, begin: int | None) -> list[int]:
    """The last `room` tokens, BOS among them in front."""
    gone = lost(ids, room, begin)
    return ids[: gone.start] + ids[gone.stop :]


def fit(pair: Encoded, max_length: int, begin: int | None) -> Encoded:
    """A request as a model of `max_length` tokens takes it: at most one more, since the last one is read and not fed."""
    context, continuation = pair
    if len(context) + len(continuation) <= max_length + 1:
        return pair
    kept, read = last_tokens(context + continuation, max_length + 1, begin), continuation[-max_length:]
    return kept[: len(kept) - len(read)], read


@dataclass(frozen=True)
class _Text:
    """A text's tokens, the first of them that belongs to the answer, and the tokens of its context alone."""

    whole: list[int]
    border: int
    context: list[int]


def _encoded(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Iterator[_Text]:
    special = special_tokens(tokenizer)
    for start in range(0, len(pairs), _AT_ONCE):
        moved = [_move_spaces(*pair) for pair in pairs[start : start + _AT_ONCE]]
        contexts = list(dict.fromkeys(context for context, _ in moved))
        alone = dict(zip(contexts, _plain(tokenizer, contexts)["input_ids"], strict=True))
        wholes = _plain(tokenizer, [context + continuation for context, continuation in moved])
        for i, (context, continuation) in enumerate(moved):
            ids, own, text = wholes["input_ids"][i], alone[context], context + continuation
            border = _border(ids, own, len(context), len(text), wholes[i].token_to_chars if wholes.is_fast else None)
            begun, prompt = _begun(tokenizer, special, text, ids), _begun(tokenizer, special, context, own)
            if prompt:
                yield _Text(begun, border + len(begun) - len(ids), prompt)
            else:  # nothing but the stand-in is in front of the answer
                first = _stand_in(tokenizer, special)
                yield _Text(ids if ids[:1] == [first] else [first, *ids], 1, [first])


def _move_spaces(context: str, continuation: str) -> Pair:
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _begun(tokenizer: PreTrainedTokenizerBase, special: SpecialTokens, text: str, ids: list[int]) -> list[int]:
    """With BOS in front where the tokenizer puts it, and once where the text has it already."""
    if special.begin is None:
        return ids
    written = ids[:1] == [special.begin] and text.lstrip().startswith(str(tokenizer.convert_ids_to_tokens(special.begin)))
    return ids if written else [special.begin, *ids]


def _stand_in(tokenizer: PreTrainedTokenizerBase, special: SpecialTokens) -> int:
    if special.stand_in is None:
        raise BadInput(
            f"{type(tokenizer).__name__} has neither a BOS nor an EOS token, one of which must stand in for an empty context. "
            "Set tokenizer.bos_token or tokenizer.eos_token"
        )
    return special.stand_in


def _border(ids: list[int], own: list[int], end: int, length: int, chars: Callable[[int], tuple[int, int] | None] | None) -> int:
    """The first of a text's tokens of which a part lies behind its first `end` characters, the context, whose own tokens are `own`.

    Args:
        length: of the text, in characters.
        chars: a token's place in the text, from a fast tokenizer. Without it all after the common tokens is taken to be the answer.
    """

    def place(i: int) -> tuple[int, int]:
        return (chars(i) if chars is not None and i < len(ids) else None) or (length, length)

    if ids[: len(own)] == own:  # an unknown token may still hold more than the context's did
        return len(own) - int(chars is not None and bool(own) and place(len(own) - 1)[1] > end)
    border = next((i for i, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b), len(ids))
    # Byte-level tokenizers leave spaces out of a token's place: where some lie between two tokens, either may hold them.
    while border < len(ids) and (place(border)[1] < end or (place(border)[1] == end and place(border + 1)[0] == end)):
        border += 1
    return border


def _plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> BatchEncoding:
    if not texts:
        return BatchEncoding({"input_ids": []})
    return tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False)
