"""How the items of an evaluation were answered, read when it is asked for and kept small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from olora_bench.errors import RecordError
from olora_bench.store import Store

COLUMNS = ("benchmark", "item_id", "gold", "prediction", "prediction_norm", "correct", "correct_norm")
KEPT = 4096
"""Evaluations whose answers stay in memory, some 6 kB each for the six benchmarks: a cell is asked once a benchmark and comparison."""


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
"""(train_id, base, eval_id) -> benchmark -> `Answered`; None where the items are not there or cannot be read."""


def answers_of(store: Store, damaged: list[str]) -> Answers:
    """Reads answers and keeps them; ids and gold choices that evaluations share are kept once. What cannot be read joins `damaged`."""
    shared: dict[str, list[tuple[pa.Array[Any], Mapping[int, int]]]] = {}

    @lru_cache(maxsize=KEPT)
    def read(train_id: str | None, base: str | None, eval_id: str) -> dict[str, Answered] | None:
        try:
            table = store.items_table(train_id, base, eval_id, COLUMNS)
        except RecordError as error:
            sentence = f"the items of {train_id or base} cannot be read: {error}"
            damaged.extend([] if sentence in damaged else [sentence])
            return None
        return None if table is None else {name: _answered(part, shared.setdefault(name, [])) for name, part in _by_benchmark(table)}

    return read


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
