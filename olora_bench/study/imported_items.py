"""The items of an imported run. No analysis or report is loaded: `study items` asks here first, whoever made the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from olora_bench.errors import BadInput
from olora_bench.foreign.record import ImportedRecord, folder_of, ids_in, read, table
from olora_bench.study.names import FOREIGN


def imported_run(results_dir: Path, name: str) -> tuple[Path, ImportedRecord] | None:
    """The imported run that a person names by its id or the beginning of it, with its study's folder; None where there is none.

    Raises:
        BadInput: several are named so.
    """
    homes = [home for home in (sorted(results_dir.iterdir()) if results_dir.is_dir() else ()) if (home / FOREIGN).is_file()]
    there = [(home, one) for home in homes for one in ids_in(home) if name and one.startswith(name.lower())]
    if len(there) > 1:
        raise BadInput(f"run {name!r} may be {', '.join(one for _, one in there[:8])}: give more of its id")
    return (there[0][0], read(*there[0])) if there else None


def imported_item_lines(home: Path, record: ImportedRecord, *, benchmark: str | None = None, limit: int | None = None) -> Iterator[str]:
    """An imported run's items, as lines: which was right. Their text lies in the files that were read.

    Raises:
        BadInput: it has no single items, or none of that benchmark.
    """
    items = table(home, record, "items")
    if items is None:
        raise BadInput(f"run {record.run_id} has no single items: its scores alone were imported ({folder_of(home, record.run_id)})")
    there = items["benchmark"].unique().tolist()
    if benchmark is not None and benchmark not in there:
        raise BadInput(f"run {record.run_id} has no items of benchmark {benchmark!r}. Allowed: {', '.join(there)}")
    yield f"imported run {record.run_id} ({record.arm}, seed {record.seed}): {len(items)} items"
    for name, group in items.groupby("benchmark", sort=False):
        if benchmark is not None and name != benchmark:
            continue
        yield f"\n{name} ({record.scores[str(name)].metric or 'score'}): {len(group)} items, {int(group['correct'].sum())} right"
        shown = group.head(len(group) if limit is None else limit)
        for item, document, correct in zip(shown["item_id"], shown["doc_id"], shown["correct"], strict=True):
            yield f"{item} (document {document}): {'not known' if pd.isna(correct) else 'right' if correct else 'wrong'}"
