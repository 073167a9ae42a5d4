"""Text to tokens, exactly as lm-eval's HFLM does it, so that training prompts are the evaluation prompts."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.models.utils import has_bos_prefix
from transformers import PreTrainedTokenizerBase

Pair = tuple[str, str]
Encoded = tuple[list[int], list[int]]


def prefix_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that stands in for an empty context: BOS, or EOS where there is none."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[Encoded]:
    """Tokens of each (context, continuation).

    As lm-eval's `TemplateLM.loglikelihood`: white space at the end of the context moves to the continuation, the whole string is
    tokenised, and the continuation is what follows the context's own number of tokens. BOS as the tokenizer puts it, unless the text
    starts with it already.

    Returns:
        (context ids, continuation ids) of each pair; the continuation's may be empty where it adds no token.
    """
    moved = [_move_spaces(context, continuation) for context, continuation in pairs]
    contexts = list(dict.fromkeys(context for context, _ in moved if context))
    ids = dict(zip(contexts, _encode(tokenizer, contexts), strict=True))
    wholes = iter(_encode(tokenizer, [context + continuation for context, continuation in moved if context]))
    bare = iter(_encode_plain(tokenizer, [continuation for context, continuation in moved if not context]))
    encoded: list[Encoded] = []
    for context, _ in moved:
        if context:
            encoded.append((ids[context], next(wholes)[len(ids[context]) :]))
        else:
            encoded.append(_without_context(prefix_token_id(tokenizer), next(bare)))
    return encoded


def _move_spaces(context: str, continuation: str) -> Pair:
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _without_context(prefix: int, continuation: list[int]) -> Encoded:
    if continuation and continuation[0] == prefix:
        return continuation[:1], continuation[1:]
    return [prefix], continuation


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    prefix = tokenizer.decode(prefix_token_id(tokenizer))
    begun = [i for i, text in enumerate(texts) if has_bos_prefix(text, prefix)]
    if not begun:
        return _batch(tokenizer, texts, add_special_tokens=True)
    encoded = _batch(tokenizer, texts, add_special_tokens=True)
    for i, ids in zip(begun, _encode_plain(tokenizer, [texts[i] for i in begun]), strict=True):
        encoded[i] = ids
    return encoded


def _encode_plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    return _batch(tokenizer, texts, add_special_tokens=False)


def _batch(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )["input_ids"]
    return ids
