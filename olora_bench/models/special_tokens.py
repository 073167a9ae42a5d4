"""Where a tokenizer's special tokens stand: found by trying, and refused where they cannot stand."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from olora_bench.errors import BadInput

_PROBES = ("a", "1", ".", "é", "的", " ")


@dataclass(frozen=True)
class SpecialTokens:
    """Where a tokenizer's special tokens stand.

    Attributes:
        begin: the token that it puts in front of every text, its BOS; None where it puts none.
        stand_in: what stands in for an empty prompt, BOS or else EOS, as in lm-eval; None where there is neither.
        ends: it puts EOS after every text. That one is left out here: the method says where EOS stands.
    """

    begin: int | None
    stand_in: int | None
    ends: bool


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """Found by trying: a text with and without special tokens.

    Raises:
        BadInput: it puts another token than its BOS (EOS where it has no BOS) in front of texts, or another than its EOS after them.
    """
    before, after = _around(tokenizer)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    stand_in = eos if bos is None else bos
    for found, allowed, place, name in ((before, stand_in, "in front of", "bos"), (after, eos, "after", "eos")):
        if found and found != [allowed]:
            token = "none is set" if allowed is None else repr(tokenizer.convert_ids_to_tokens(allowed))
            raise BadInput(
                f"{type(tokenizer).__name__} puts {' '.join(tokenizer.convert_ids_to_tokens(found))!r} {place} every text. "
                f"Allowed: nothing, or once its {name.upper()} token ({token}). "
                f"Set tokenizer.{name}_token, or correct the post-processor in tokenizer.json"
            )
    return SpecialTokens(before[0] if before else None, stand_in, bool(after))


def required_eos(tokenizer: PreTrainedTokenizerBase, use: str) -> int:
    """EOS.

    Raises:
        BadInput: the tokenizer has none; `use` says what it is needed for.
    """
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{type(tokenizer).__name__} has no EOS token, {use}. Set tokenizer.eos_token")
    return int(tokenizer.eos_token_id)


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What fills rows up: padding is masked everywhere, so any id serves."""
    return next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts in front of a text and after it."""
    special = set(tokenizer.all_special_ids)
    plain = {probe: tokenizer.encode(probe, add_special_tokens=False) for probe in _PROBES}
    probe = max(_PROBES, key=lambda p: (bool(plain[p]), not special & set(plain[p])))
    ids, inside = tokenizer.encode(probe), plain[probe]
    at = next((i for i in range(len(ids) - len(inside), -1, -1) if ids[i : i + len(inside)] == inside), len(ids))
    return ids[:at], ids[at + len(inside) :]
