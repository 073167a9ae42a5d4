"""Which training items are evaluation items again, word for word or nearly."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

import numpy as np

from olora_bench.data.items import Item

WINDOW = 8
"""Words in a window, as in GPT-2's overlap check (Radford et al. 2019, section 4)."""

NEAR_SHARE = 0.8
"""An item is near when it holds at least this share of an evaluation item's windows."""

_SIGNS = "#%&*/@\\\N{PRIME}\N{ARABIC PERCENT SIGN}\N{PER MILLE SIGN}\N{PER TEN THOUSAND SIGN}"
_QUOTES = "`\N{ACUTE ACCENT}"
_DASH = "[-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}]"
_MINUS = re.compile(rf"(?<=\d)\s*{_DASH}\s*(?=\d)|(?<![\w-]){_DASH}(?=\d)")
# Odd multipliers of a polynomial hash modulo 2^64: two different windows meet with probability about 2^-64.
_POWERS = np.array([pow(0x9E3779B97F4A7C15, i + 1, 2**64) for i in range(WINDOW)], dtype=np.uint64)


def words(text: str) -> list[str]:
    """Lower-case words and symbols: case, punctuation and spacing make no difference, nor does how an accent is encoded (Unicode's NFC).

    A word is a run of letters, accents and digits. Each symbol is a word of its own: Unicode's symbols (but quotation marks), the signs
    that Unicode counts as punctuation and prose does not (`# % & * / @`, primes), and a dash between two numbers or right before one.

    >>> words("What's  the largest_organ?"), words("C++ is well-known: $5"), words("5-2") == words("5 - 2") != words("5 2")
    (['what', 's', 'the', 'largest', 'organ'], ['c', '+', '+', 'is', 'well', 'known', '$', '5'], True)
    """
    lower = unicodedata.normalize("NFC", text.lower())
    return _MINUS.sub(" \N{MINUS SIGN} ", lower).translate(_SPACED).split()


class _Spaced(dict[int, str]):
    """What stands for a character: itself in a word, itself between spaces for a symbol, a space otherwise."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        kind = unicodedata.category(letter)
        if kind[0] in "LMN":
            found = letter
        elif kind == "Cf":  # a soft hyphen, a joiner: nothing that is seen
            found = ""
        elif kind in ("Co", "Cn", "Cs") or (kind[0] == "S" and letter not in _QUOTES) or unicodedata.normalize("NFKC", letter)[0] in _SIGNS:
            found = f" {letter} "
        else:
            found = " "
        self[code] = found
        return found


_SPACED = _Spaced()


@functools.lru_cache(maxsize=1 << 20)
def _code(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")


def windows(text: list[str]) -> np.ndarray:
    """Hashes of the runs of `WINDOW` words, in order: uint64 [len(text) - WINDOW + 1], empty for a shorter text."""
    count = len(text) - WINDOW + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    codes = np.fromiter(map(_code, text), dtype=np.uint64, count=len(text))
    hashes = np.zeros(count, dtype=np.uint64)
    for i, power in enumerate(_POWERS):
        hashes += codes[i : i + count] * power
    return hashes


class Seen:
    """Evaluation items, against which others are judged.

    exact: question, choices (or instruction and response) are the same words in the same order.
    near: the other holds at least `NEAR_SHARE` of the windows of the evaluation item's question; where the question is shorter than
    one window, of its question and choices. So a question with its choices exchanged is near, and so is another BoolQ question
    about the same passage.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._exact: set[bytes] = set()
        probes = []
        for item in items:
            query, rest = words(item.query), words(item.rest)
            self._exact.add(_digest(query + rest))
            probes.append(np.unique(windows(query if len(query) >= WINDOW else query + rest)))
        sizes = np.array([len(p) for p in probes], dtype=np.int64)
        keys = np.concatenate(probes) if probes else np.empty(0, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        self._sizes, self._keys = sizes, keys[order]
        self._owners = np.repeat(np.arange(len(probes)), sizes)[order]

    def overlap(self, item: Item) -> Literal["exact", "near"] | None:
        """How `item` overlaps any of these, or null."""
        text = words(item.query) + words(item.rest)
        if _digest(text) in self._exact:
            return "exact"
        found = windows(text)
        if not len(found) or not len(self._keys):
            return None
        left = np.searchsorted(self._keys, found)
        found = np.unique(found[self._keys[np.minimum(left, len(self._keys) - 1)] == found])
        if not len(found):
            return None
        spans = zip(np.searchsorted(self._keys, found), np.searchsorted(self._keys, found, "right"), strict=True)
        owners, counts = np.unique(np.concatenate([self._owners[a:b] for a, b in spans]), return_counts=True)
        return "near" if np.any(counts >= NEAR_SHARE * self._sizes[owners]) else None


def _digest(text: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(text).encode(), digest_size=16).digest()
