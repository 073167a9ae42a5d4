"""When a study was declared, in words and as a table."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import rows_of
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
    ),
)
DECLARED_VIEW = View(
    "declared",
    "Declared first",
    "The commit that declared the study: since then its contrasts, grids and seeds have not changed. Runs by when they started; "
    "those before it may be another study's.",
    DECLARED_TABLE,
    ("file", "commit", "committed_at", "runs", "runs_after", "runs_before", "reason"),
)


def declared_sentences(declared: pd.DataFrame) -> list[str]:
    """What is known of the commit that declared a study, from its table of at most one row."""
    if declared.empty:
        return ["The commit that declared this study is not known here."]
    row = {name: None if pd.isna(value) else value for name, value in rows_of(declared)[0].items()}
    if not row["commit"]:
        return [f"The commit that declared this study is not known: {row['reason'] or 'its file is in no git repository'}."]
    early = f", {row['runs_before']} before it" if row["runs_before"] else ""
    lines = [
        f"What {row['file']} declares (contrasts, grids, seeds) has stood unchanged since commit {row['commit']} of {row['committed_at']}.",
        f"Of {counted(int(row['runs'] or 0), 'run')} with a record {row['runs_after']} started after that commit{early}.",
    ]
    return [*lines, "Later commits changed only its title or comments."] if row["changed_since"] else lines
