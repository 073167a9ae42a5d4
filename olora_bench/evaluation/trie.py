"""What is fed to the model: the choices of an item laid out as one token trie, the beginning that a task's items share taken out.

A trie lies in depth-first order, so the subtree of the token at column j is the columns j to ends[j] - 1, and attention from column i to
column j is allowed where j <= i < ends[j]. No matrix is kept: two numbers a token (depth and end) make the mask again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from olora_bench.data.encoding import Encoded, fit

# A shared beginning shorter than this, or of fewer rows, is fed with each of them: running it alone would cost more.
SHORTEST_PREFIX, FEWEST_ROWS = 32, 4


@dataclass(frozen=True)
class Plan:
    """The rows of one task's requests. Columns of row r are `row_starts[r]` to `row_starts[r + 1]` of the flat arrays.

    Attributes:
        tokens: int32 [n], every row's tokens one after another.
        depths: int32 [n], how many tokens of the row are above this one.
        ends: int32 [n], the column after the last of this token's subtree.
        row_starts: int64 [rows + 1].
        prefix: int32 [p], the tokens that all rows have in front (p may be 0).
        read_columns: int32 [m], column in its row whose hidden state predicts `read_targets`; sorted by row.
        read_targets: int32 [m].
        read_owners: int32 [m], the request whose log-likelihood this is a part of.
        read_starts: int64 [rows + 1], the reads of each row.
        cut: bool [requests], the prompt lost its beginning.
        empty: bool [requests], the continuation has no token.
        merged: bool [requests], context and continuation are other tokens together than apart.
    """

    tokens: np.ndarray
    depths: np.ndarray
    ends: np.ndarray
    row_starts: np.ndarray
    prefix: np.ndarray
    read_columns: np.ndarray
    read_targets: np.ndarray
    read_owners: np.ndarray
    read_starts: np.ndarray
    cut: np.ndarray
    empty: np.ndarray
    merged: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, without the prefix."""
        return np.diff(self.row_starts)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def build_plan(
    encoded: Sequence[Encoded], items: Sequence[Hashable], *, merged: Sequence[bool], begin: int | None, max_length: int, pair_cost: float
) -> Plan:
    """Lay out a task's requests.

    Args:
        encoded: (context, continuation) tokens of each request, no context empty.
        items: the item of each request; requests of one item may share a row.
        merged: kept as it is.
        begin: the tokenizer's BOS, which stays where a prompt that is longer than `max_length` loses its beginning.
        max_length: tokens that the model takes.
        pair_cost: what attending from one token to another costs, a token's matrix products being 1. Decides between trie and plain rows.
    """
    cut, empty = np.zeros(len(encoded), dtype=np.bool_), np.zeros(len(encoded), dtype=np.bool_)
    sequences: list[tuple[list[int], list[int]]] = []
    for i, pair in enumerate(encoded):
        context, continuation = fit(pair, max_length, begin)
        cut[i], empty[i] = sum(map(len, pair)) > max_length + 1, not continuation
        sequences.append(((context + continuation)[:-1], continuation))
    asked = [i for i in range(len(encoded)) if not empty[i]]
    prefix = _shared([sequences[i] for i in asked])
    groups: dict[Hashable, list[int]] = {}
    for i in asked:
        groups.setdefault(items[i], []).append(i)
    rows = _Rows(len(prefix))
    for members in groups.values():
        by_tokens: dict[tuple[int, ...], list[int]] = {}
        for i in members:
            by_tokens.setdefault(tuple(sequences[i][0][len(prefix) :]), []).append(i)
        unique = sorted(by_tokens)
        trie = _trie(unique)
        together = _cost(len(trie.tokens), len(prefix), pair_cost)
        apart = sum(_cost(len(tokens), len(prefix), pair_cost) for tokens in unique)
        chosen = [(trie, unique)] if together <= apart else [(_trie([tokens]), [tokens]) for tokens in unique]
        for one, inside in chosen:
            rows.add(one, [(path, i, sequences[i][1]) for tokens, path in zip(inside, one.paths, strict=True) for i in by_tokens[tokens]])
    return rows.plan(prefix, cut, empty, np.array(merged, dtype=np.bool_))


def _cost(length: int, prefix: int, pair_cost: float) -> float:
    return length * (1 + pair_cost * (prefix + length))


def _shared(sequences: Sequence[tuple[list[int], list[int]]]) -> list[int]:
    """The tokens in front of every sequence's first read position."""
    if len({tuple(fed) for fed, _ in sequences}) < FEWEST_ROWS:
        return []
    heads = [fed[: len(fed) - len(continuation)] for fed, continuation in sequences]
    low, high = min(heads), max(heads)  # what these two share, all share
    common = _common(low, high)
    return low[:common] if common >= SHORTEST_PREFIX else []


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


@dataclass
class _Trie:
    tokens: list[int]
    depths: list[int]
    ends: list[int]
    paths: list[list[int]]


def _trie(sequences: Sequence[tuple[int, ...]]) -> _Trie:
    """Sorted, distinct sequences as one trie; `paths` are each sequence's columns."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: list[list[int]] = []
    before: tuple[int, ...] = ()
    path: list[int] = []
    for sequence in sequences:
        common = _common(before, sequence)
        for column in path[common:]:
            ends[column] = len(tokens)
        path = path[:common] + list(range(len(tokens), len(tokens) + len(sequence) - common))
        tokens += sequence[common:]
        depths += range(common, len(sequence))
        ends += [0] * (len(sequence) - common)
        paths.append(path)
        before = sequence
    for column in path:
        ends[column] = len(tokens)
    return _Trie(tokens, depths, ends, paths)


class _Rows:
    """Rows as they are added, and then as flat arrays."""

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.ends: list[int] = []
        self.row_starts, self.read_starts = [0], [0]
        self.columns: list[int] = []
        self.targets: list[int] = []
        self.owners: list[int] = []

    def add(self, trie: _Trie, reads: Sequence[tuple[list[int], int, list[int]]]) -> None:
        """`reads`: the columns of a request's sequence, the request, its continuation."""
        self.tokens += trie.tokens
        self.depths += trie.depths
        self.ends += trie.ends
        for path, owner, continuation in reads:
            self.columns += path[len(path) - len(continuation) :]
            self.targets += continuation
            self.owners += [owner] * len(continuation)
        self.row_starts.append(len(self.tokens))
        self.read_starts.append(len(self.columns))

    def plan(self, prefix: list[int], *flags: np.ndarray) -> Plan:
        small = [
            np.array(x, dtype=np.int32) for x in (self.tokens, self.depths, self.ends, prefix, self.columns, self.targets, self.owners)
        ]
        starts, read_starts = np.array(self.row_starts, dtype=np.int64), np.array(self.read_starts, dtype=np.int64)
        tokens, depths, ends, shared, columns, targets, owners = small
        return Plan(tokens, depths, ends, starts, shared, columns, targets, owners, read_starts, *flags)
