"""The items of imported runs. No analysis or report is loaded: `study items` asks here first, whoever made the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from olora_bench.errors import BadInput, RecordError
from olora_bench.foreign.kept import read_kept
from olora_bench.foreign.record import ImportedRecord, folder_of, read, table
from olora_bench.store import inside
from olora_bench.study.names import FOREIGN, imported_home, studies

Imported = tuple[Path, ImportedRecord]
"""A run's study's folder, and its record."""


def imported_runs(results_dir: Path, name: str) -> list[Imported]:
    """The imported runs that a person names: every one of a study by its name, or one by its id or the beginning of it; none where nothing
    was imported so.

    Raises:
        BadInput: the beginning of an id fits several.
        RecordError: a study or record that was imported cannot be read.
    """
    if (home := imported_home(results_dir, name)) is not None:
        return [(home, read(home, one)) for one in read_kept(home / FOREIGN).runs]
    there = [(home, one) for home in _homes(results_dir) for one in _ids(home) if name and one.startswith(name.lower())]
    if len(there) > 1:
        raise BadInput(f"run {name!r} may be {', '.join(one for _, one in there[:8])}: give more of its id")
    return [(home, read(home, one)) for home, one in there]


def _homes(results_dir: Path) -> list[Path]:
    return [results_dir / one for one in studies(results_dir) if (results_dir / one / FOREIGN).is_file()]


def _ids(home: Path) -> tuple[str, ...]:
    try:
        return read_kept(inside(home.parent, home) / FOREIGN).runs
    except RecordError:  # the damage of one study is no reason to read nothing of another
        return ()


def item_lines_of(runs: list[Imported], *, benchmark: str | None = None, limit: int | None = None) -> Iterator[str]:
    """The items of imported runs, as lines: which was right. Their text lies in the files that were read.

    Raises:
        BadInput: no run has single items, or none of that benchmark.
        RecordError: a table is gone or damaged.
    """
    there = dict.fromkeys(name for _, one in runs for name, score in one.scores.items() if score.single_items)
    if not there:
        home, one = runs[0]
        which, where = (f"run {one.run_id}", folder_of(home, one.run_id)) if len(runs) == 1 else (f"study {home.name}", home)
        raise BadInput(f"{which} has no single items: scores alone were imported ({where})")
    if benchmark is not None and benchmark not in there:
        raise BadInput(f"no items of benchmark {benchmark!r} were imported there. Allowed: {', '.join(there)}")
    for place, (home, one) in enumerate(runs):
        yield from [""] if place else []
        yield from _run(home, one, benchmark, limit)


def _run(home: Path, record: ImportedRecord, benchmark: str | None, limit: int | None) -> Iterator[str]:
    items = table(home, record, "items")
    named = f"imported run {record.run_id} ({record.arm}, seed {record.seed})"
    if items is None:
        yield f"{named}: no single items; scores {record.scores_state}"
        return
    yield f"{named}: {len(items)} items"
    for name, group in items.groupby("benchmark", sort=False):
        if benchmark is not None and name != benchmark:
            continue
        yield f"\n{name} ({record.scores[str(name)].metric or 'score'}): {len(group)} items, {int(group['correct'].sum())} right"
        shown = group.head(len(group) if limit is None else limit)
        for item, document, correct in zip(shown["item_id"], shown["doc_id"], shown["correct"], strict=True):
            yield f"{item} (document {document}): {'not known' if pd.isna(correct) else 'right' if correct else 'wrong'}"
