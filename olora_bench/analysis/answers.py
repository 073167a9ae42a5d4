"""How the items of an evaluation were answered, read once and kept small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from olora_bench.store import Store

COLUMNS = ("benchmark", "item_id", "gold", "prediction", "prediction_norm", "correct", "correct_norm")


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


Who = tuple[str | None, str | None, str]
"""Whose evaluation: the run's train_id or else the base's name, and the eval_id."""
Answers = Callable[[str | None, str | None, str], dict[str, Answered] | None]
"""(train_id, base, eval_id) -> benchmark -> `Answered`; None where there are none."""


class AnswersRead:
    """What was answered in the evaluations that were read; ids and gold choices that they share are kept once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Who, dict[str, Answered]] = {}
        self._shared: dict[str, list[tuple[pa.Array[Any], Mapping[int, int]]]] = {}

    def read(self, who: Who) -> None:
        """Read the items of an evaluation.

        Raises:
            RecordError: they are damaged, or gone though the record names them.
        """
        table = self._store.items_table(*who, COLUMNS)
        if table is not None:
            self._known[who] = {name: _answered(part, self._shared.setdefault(name, [])) for name, part in _by_benchmark(table)}

    def of(self, train_id: str | None, base: str | None, eval_id: str) -> dict[str, Answered] | None:
        """Benchmark -> how its items were answered; None where nothing was read."""
        return self._known.get((train_id, base, eval_id))


def _by_benchmark(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    runs = pc.run_end_encode(table["benchmark"].combine_chunks())
    names, ends = runs.values.to_pylist(), runs.run_ends.to_pylist()
    if len(set(names)) < len(names):  # a benchmark's rows need not lie together
        yield from ((name, table.filter(pc.equal(table["benchmark"], name))) for name in dict.fromkeys(names))
        return
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        yield name, table.slice(start, end - start)


def _answered(part: pa.Table, known: list[tuple[pa.Array[Any], Mapping[int, int]]]) -> Answered:
    ids, gold = part["item_id"].combine_chunks(), _counts(part["gold"])
    same = next((one for one in known if one[0].equals(ids) and one[1] == gold), None)
    if same is None:
        same = pa.array(ids.to_pylist(), ids.type), gold  # a copy: a slice would keep its whole file's column
        known.append(same)
    right = [np.packbits(part[name].to_numpy()) for name in ("correct", "correct_norm")]
    return Answered(*same, _counts(part["prediction"]), _counts(part["prediction_norm"]), *right)


def _counts(choices: pa.ChunkedArray[Any]) -> dict[int, int]:
    values = choices.to_numpy()
    if len(values) and values.min() >= 0 and values.max() < 1000:
        return {choice: count for choice, count in enumerate(np.bincount(values).tolist()) if count}
    return dict(Counter(values.tolist()))
