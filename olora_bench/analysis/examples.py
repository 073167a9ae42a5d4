"""The held-out loss example by example, read once and kept small: what its item part is measured from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from olora_bench.store import Store


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
    """The losses by example of the runs that were read; ids and token counts that runs share are kept once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, ExampleLosses] = {}
        self._shared: list[ExampleLosses] = []

    def read(self, train_id: str) -> None:
        """Read those of a run.

        Raises:
            RecordError: they are damaged, or gone though the record names them.
        """
        table = self._store.examples_table(train_id)
        if table is None:
            return
        table = table.filter(pc.equal(table["part"], "report"))
        ids = pc.binary_join_element_wise(table["group"], table["example_id"], "/").combine_chunks()
        tokens = table["tokens"].to_numpy().astype(float)
        sums = table["loss_sum"].to_numpy()
        same = next((one for one in self._shared if one.ids.equals(ids) and np.array_equal(one.tokens, tokens)), None)
        if same is None:
            same = ExampleLosses(pa.array(ids.to_pylist(), ids.type), sums, tokens)  # a slice would keep its whole file's column
            self._shared.append(same)
        self._known[train_id] = ExampleLosses(same.ids, sums.copy(), same.tokens)

    def of(self, train_id: str) -> ExampleLosses | None:
        """As `Examples`."""
        return self._known.get(train_id)
