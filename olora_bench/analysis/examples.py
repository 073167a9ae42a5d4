"""The held-out loss example by example, read once and kept small: what its item part is measured from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from olora_bench.formats import SharedColumns
from olora_bench.store import Beside

_SHARED = ("part", "group", "example_id", "tokens")


@dataclass(frozen=True)
class ExampleLosses:
    """The report part of a finished run, one entry an example, in the order of the record.

    Attributes:
        ids: `(examples,)` text, e.g. `piqa/train-3`.
        sums: float32 `(examples,)`, the loss summed over an example's supervised tokens, nats.
        tokens: `(examples,)`, the number of those tokens.
    """

    ids: pa.Array[Any]
    sums: NDArray[np.float32]
    tokens: NDArray[np.float64]

    def at(self, ids: pa.Array[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Sums and tokens of the examples with these ids, in their order; None where these are not the same examples."""
        if self.ids is ids or self.ids.equals(ids):
            return self.sums.astype(float), self.tokens
        places = pc.index_in(ids, self.ids)
        if len(ids) != len(self.ids) or places.null_count or pc.count_distinct(ids).as_py() < len(ids):
            return None
        index = places.to_numpy()
        return self.sums[index].astype(float), self.tokens[index]


Examples = Callable[[str], ExampleLosses | None]
"""train_id -> the losses of its report part by example; None where its record keeps none: it is older, or the run is not finished."""


def no_examples(train_id: str) -> None:
    """A study without a record that keeps losses by example."""


class ExamplesRead:
    """The losses by example of the runs that were read; ids and token counts that runs share are decoded and kept once."""

    def __init__(self) -> None:
        self._known: dict[str, ExampleLosses] = {}
        self._columns = SharedColumns(_SHARED)
        self._shared: list[ExampleLosses] = []
        self._last: tuple[tuple[pa.ChunkedArray[Any], ...], NDArray[np.bool_], ExampleLosses] | None = None

    def read(self, train_id: str, beside: Beside) -> None:
        """Read those of a run, which lie beside its record.

        Raises:
            RecordError: they are damaged, or gone though the record names them.
        """
        table = beside.table("examples", (*_SHARED, "loss_sum"), self._columns)
        if table is None:
            return
        columns = tuple(table[name] for name in _SHARED)
        if self._last is None or not all(mine.equals(last) for mine, last in zip(columns, self._last[0], strict=True)):
            self._last = columns, *self._reported(table)
        _, reported, same = self._last
        self._known[train_id] = ExampleLosses(same.ids, table["loss_sum"].to_numpy()[reported], same.tokens)

    def _reported(self, table: pa.Table) -> tuple[NDArray[np.bool_], ExampleLosses]:
        """Which rows are of the report part, and examples like them."""
        reported = pc.equal(table["part"], "report")
        part = table.filter(reported)
        ids = pc.binary_join_element_wise(part["group"], part["example_id"], "/").combine_chunks()
        tokens = part["tokens"].to_numpy().astype(float)
        same = next((one for one in self._shared if one.ids.equals(ids) and np.array_equal(one.tokens, tokens)), None)
        if same is None:
            same = ExampleLosses(ids, part["loss_sum"].to_numpy(), tokens)
            self._shared.append(same)
        return reported.to_numpy(), same

    def of(self, train_id: str) -> ExampleLosses | None:
        """As `Examples`."""
        return self._known.get(train_id)
