"""Which items share a passage or a source: what several questions are asked about is drawn once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from olora_bench.errors import RecordError
from olora_bench.store import Store

Sources = Callable[[str, str], Mapping[str, Mapping[str, str]] | None]
"""(train_id, eval_id) -> benchmark -> item id -> its source; an item without one is its own. None where the record does not tell: it is
older, or cannot be read."""


def no_sources(train_id: str, eval_id: str) -> None:
    """A study whose records do not tell."""


class SourcesRead:
    """The sources of items as records name them, read when they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Mapping[str, Mapping[str, str]] | None] = {}

    def of(self, train_id: str, eval_id: str) -> Mapping[str, Mapping[str, str]] | None:
        """As `Sources`."""
        if (train_id, eval_id) not in self._known:
            self._known[train_id, eval_id] = self._read(train_id, eval_id)
        return self._known[train_id, eval_id]

    def _read(self, train_id: str, eval_id: str) -> Mapping[str, Mapping[str, str]] | None:
        try:
            told = self._store.read_items(train_id, None, eval_id, ("source",))
            if told is None or told["source"].isna().any():  # an older table: its ids, which take longer, are not decoded for nothing
                return None
            items = self._store.read_items(train_id, None, eval_id, ("benchmark", "item_id", "source"))
        except RecordError:
            return None
        if items is None:
            return None
        items["source"] = items["source"].where(items["source"] != "", items["item_id"])
        return {str(name): dict(zip(own["item_id"], own["source"], strict=True)) for name, own in items.groupby("benchmark", sort=False)}
