"""When a study was declared, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import rows_of
from olora_bench.store.manifest import Covers
from olora_bench.words.reasons import counted

DECLARED_TABLE = Table(
    "declared",
    "the study",
    (
        Column("file", "the study's file", heading="study file"),
        Column("commit", "the oldest commit from which on the file declares what it declares now", heading="commit"),
        Column("committed_at", "the committer's time of that commit", "ISO 8601, UTC", "committed"),
        Column("changed_since", "whether later commits touched the file's title or comments"),
        Column("runs", "runs whose start is recorded", heading="runs started"),
        Column("runs_before", "those that started before the commit", heading="before it"),
        Column("runs_after", "those that started after the commit", heading="after it"),
        Column("reason", "why no commit is known", heading="why none"),
        Column("before", "the train_ids of the runs that started before the commit"),
        Column("locked", "what was locked before the first run: the composed study, the study file, or nothing", heading="locked"),
        Column("changes", "what of that has changed since, each with its old and new value", heading="changed since"),
    ),
)
DECLARED_VIEW = View(
    "declared",
    "Declared first",
    "The commit that declared the study: since then its contrasts, grids and seeds have not changed. Runs by when they started; "
    "those before it may be another study's. Locked: a later change of it is said here.",
    DECLARED_TABLE,
    ("file", "commit", "committed_at", "runs", "runs_after", "runs_before", "reason", "locked", "changes"),
)


def declared_sentences(declared: pd.DataFrame) -> list[str]:
    """What is known of the commit that declared a study and of what was locked, from its table of at most one row."""
    if declared.empty:
        return ["The commit that declared this study is not known here."]
    row = {name: None if pd.isna(value) else value for name, value in rows_of(declared)[0].items()}
    return [*_commit_sentences(row), *_locked_sentences(row)]


def _commit_sentences(row: Mapping[str, object]) -> list[str]:
    if not row["commit"]:
        return [f"The commit that declared this study is not known: {row['reason'] or 'its file is in no git repository'}."]
    early = f", {row['runs_before']} before it" if row["runs_before"] else ""
    lines = [
        f"What {row['file']} declares (contrasts, grids, seeds) has stood unchanged since commit {row['commit']} of {row['committed_at']}.",
        f"Of {counted(int(str(row['runs'] or 0)), 'run')} with a record {row['runs_after']} started after that commit{early}.",
    ]
    return [*lines, "Later commits changed only its title or comments."] if row["changed_since"] else lines


_SHOWN = 10


def _locked_sentences(row: Mapping[str, object]) -> list[str]:
    if row["locked"] == Covers.FILE:
        return [
            f"Nothing but {row['file']} itself was settled before the first run: its lock does not cover what that file composes to "
            "(recipe, data, primary metrics) or the version of the analysis: tests may be newer than the runs."
        ]
    if row["locked"] != Covers.COMPOSED:
        return []
    if row["changes"]:
        return [f"{CHANGED}: {row['changes']}."]
    return [
        "Contrasts, grids, seeds, recipe, data, primary metrics and the version of the analysis are what was locked before the first run."
    ]


CHANGED = "Changed since the first run"


def since_text(changes: Sequence[tuple[str, Any, Any]], unknown: str | None = None) -> str:
    """Settings that changed, each `(dotted name, what it was, what it is)`, null where it was or is not set; or why that is not known.

    >>> since_text([("recipe.default.steps", [64], [32]), ("study.margin", None, 1.0)])
    'recipe.default.steps was 64 and is 32; study.margin was not set and is 1.0'
    """
    if unknown is not None:
        return f"not known ({unknown})"
    shown = [f"{name} was {_value(was)} and is {_value(now)}" for name, was, now in changes[:_SHOWN]]
    return "; ".join([*shown, *([f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else [])])


def _value(value: Any) -> str:
    """A setting's value, or those that it takes in a study's combinations."""
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "[]"
    return "not set" if value is None else str(value)
