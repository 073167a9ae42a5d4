"""How the items of an evaluation were answered, read once and kept small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from olora_bench.formats import SharedColumns
from olora_bench.store import Beside, EvalRecord

_SHARED = ("benchmark", "item_id", "gold")
COLUMNS = (*_SHARED, "prediction", "prediction_norm", "correct", "correct_norm")


@dataclass(frozen=True)
class Answered:
    """How a benchmark's items were answered.

    Attributes:
        item_id: `(items,)` text.
        gold, prediction, prediction_norm: choice -> how many items have it; `_norm` by length.
        correct, correct_norm: `(items,)` bits, packed.
    """

    item_id: pa.Array[Any]
    gold: Mapping[int, int]
    prediction: Mapping[int, int]
    prediction_norm: Mapping[int, int]
    correct: np.ndarray[Any, Any]
    correct_norm: np.ndarray[Any, Any]

    def right(self, metric: str) -> np.ndarray[Any, Any]:
        """Which items are right by `acc` or `acc_norm`: `(items,)` bool."""
        packed = self.correct_norm if metric == "acc_norm" else self.correct
        return np.unpackbits(packed, count=len(self.item_id)).astype(bool)


Answers = Callable[[str | None, str | None, str], dict[str, Answered] | None]
"""(train_id, base, eval_id) -> benchmark -> `Answered`; None where there are none."""

_Rows = slice | NDArray[np.int64]


@dataclass(frozen=True)
class _Asked:
    """The items of an evaluation, which others share.

    Attributes:
        columns: `benchmark`, `item_id` and `gold` of its table.
        parts: benchmark -> its rows, their ids, gold choice -> how many items have it.
    """

    columns: tuple[pa.ChunkedArray[Any], ...]
    parts: Mapping[str, tuple[_Rows, pa.Array[Any], Mapping[int, int]]]

    @classmethod
    def of(cls, columns: tuple[pa.ChunkedArray[Any], ...], known: list[_Asked]) -> _Asked:
        """Those of a table with these columns; ids and counts of benchmarks that are `known` are kept once."""
        names, ids, gold = columns[0], columns[1].combine_chunks(), columns[2].to_numpy()
        parts: dict[str, tuple[_Rows, pa.Array[Any], Mapping[int, int]]] = {}
        for name, rows in _by_benchmark(names.combine_chunks()):
            own, counts = ids[rows] if isinstance(rows, slice) else ids.take(pa.array(rows)), _counts(gold[rows])
            twins = (one.parts[name][1:] for one in known if name in one.parts)
            same = next((twin for twin in twins if twin[0].equals(own) and twin[1] == counts), None)
            parts[name] = (rows, *(same or (pa.array(own.to_pylist(), own.type), counts)))  # a copy: a slice would keep its whole column
        return cls(columns, parts)


class AnswersRead:
    """What was answered in the evaluations that were read; ids and gold choices that they share are decoded and kept once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str | None, str], dict[str, Answered]] = {}
        self._shared = SharedColumns(_SHARED)
        self._asked: list[_Asked] = []

    def read(self, record: EvalRecord, beside: Beside) -> None:
        """Read the items of an evaluation, which lie beside its record.

        Raises:
            RecordError: they are damaged, or gone though the record names them.
        """
        table = beside.table("items", COLUMNS, self._shared)
        if table is not None:
            self._known[record.train_id, record.base, record.eval_id] = _answered(table, self._same(table))

    def _same(self, table: pa.Table) -> _Asked:
        columns = tuple(table[name] for name in _SHARED)
        for one in self._asked:
            if all(mine.equals(theirs) for mine, theirs in zip(columns, one.columns, strict=True)):
                return one
        self._asked.append(_Asked.of(columns, self._asked))
        return self._asked[-1]

    def of(self, train_id: str | None, base: str | None, eval_id: str) -> dict[str, Answered] | None:
        """Benchmark -> how its items were answered; None where nothing was read."""
        return self._known.get((train_id, base, eval_id))


def _by_benchmark(names: pa.Array[Any]) -> list[tuple[str, _Rows]]:
    runs = pc.run_end_encode(names)
    found, ends = runs.values.to_pylist(), runs.run_ends.to_pylist()
    if len(set(found)) < len(found):  # a benchmark's rows need not lie together
        return [(name, np.flatnonzero(pc.equal(names, name).to_numpy(zero_copy_only=False))) for name in dict.fromkeys(found)]
    return [(name, slice(start, end)) for name, start, end in zip(found, [0, *ends[:-1]], ends, strict=True)]


def _answered(table: pa.Table, asked: _Asked) -> dict[str, Answered]:
    chosen, chosen_norm, correct, correct_norm = (table[name].to_numpy() for name in COLUMNS[len(_SHARED) :])
    found = {}
    for name, (at, ids, gold) in asked.parts.items():
        right = np.packbits(correct[at]), np.packbits(correct_norm[at])
        found[name] = Answered(ids, gold, _counts(chosen[at]), _counts(chosen_norm[at]), *right)
    return found


def _counts(values: NDArray[np.int64]) -> dict[int, int]:
    if len(values) and values.min() >= 0 and values.max() < 1000:
        return {choice: count for choice, count in enumerate(np.bincount(values).tolist()) if count}
    return dict(Counter(values.tolist()))
