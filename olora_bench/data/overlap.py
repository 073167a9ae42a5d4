"""Which training items are evaluation items again, word for word or nearly."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

from olora_bench.data.items import Item

WINDOW = 8
"""Words in a window, as in GPT-2's overlap check (Radford et al. 2019, section 4)."""

NEAR_SHARE = 0.8
"""An item is near when it holds at least this share of an evaluation item's windows."""

_WORD = re.compile(r"[^\W_]+")
# Odd multipliers of a polynomial hash modulo 2^64: two different windows meet with probability about 2^-64.
_POWERS = np.array([pow(0x9E3779B97F4A7C15, i + 1, 2**64) for i in range(WINDOW)], dtype=np.uint64)


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits: case, punctuation and spacing make no difference.

    >>> words("What's  the largest_organ?")
    ['what', 's', 'the', 'largest', 'organ']
    """
    return _WORD.findall(text.lower())


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
