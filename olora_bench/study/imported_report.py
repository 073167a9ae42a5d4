"""What an imported study says: status, report, figures and extract, each from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from olora_bench.analysis import Tables, analyse, rows_of
from olora_bench.analysis.complete import lacking_text
from olora_bench.analysis.frames import Row
from olora_bench.config.lines import typed
from olora_bench.identity.title import run_title
from olora_bench.report import study_report, table_files
from olora_bench.report.extract import claims, extract
from olora_bench.report.origins import Origins
from olora_bench.report.page import study_page
from olora_bench.report.published import PUBLISHED_TABLE
from olora_bench.report.render import markdown_escape
from olora_bench.seeds import derive
from olora_bench.store import atomic_write, lease
from olora_bench.study.imported import Read, read_runs, stored
from olora_bench.study.names import report_dir, typed_here
from olora_bench.study.report import write_figures
from olora_bench.words.claims import CLAIM_TABLE
from olora_bench.words.declared import DECLARED_TABLE

MANY = 20
"""More runs that lack something are a matter for `status`."""


@dataclass(frozen=True)
class Made:
    """What a command says of an imported study, and what the study lacks."""

    text: str
    lacks: list[str]


def import_study(path: Path, results_dir: Path, *, figures: bool = False) -> Made:
    """Read the runs that a study file names, write their records, and make the report from these.

    Args:
        path, results_dir: as for `read_runs`.
        figures: whether figures are drawn too.

    Raises:
        BadInput, StoreError: as for `read_runs`.
    """
    return _report(read_runs(path, results_dir), figures=figures)


def report(home: Path) -> Made:
    """The report of an imported study, written to its folder; Raises as `stored`."""
    return _report(stored(home))


def _report(found: Read, *, figures: bool = False) -> Made:
    tables, lacks = _tables(found), found.lacks
    text = study_report(found.frames, tables, _notes(found, lacks))
    page = study_page(found.frames, tables, _origins(found))
    with lease(found.home, wait=True):
        folder = _written(found, tables)
        for name, content in {"index.html": page, "report.md": (text + "\n").encode()}.items():
            atomic_write(folder / name, content)
        drawn = [write_figures(found.frames, tables, folder / "figures")] if figures else []
    return Made("\n".join([text, *drawn]), lacks)


def figures(home: Path) -> Made:
    """Tables and figures of an imported study; Raises as `stored`."""
    found = stored(home)
    tables = _tables(found)
    with lease(home, wait=True):
        return Made(write_figures(found.frames, tables, _written(found, tables) / "figures"), found.lacks)


def extracted(home: Path) -> tuple[str, str, str, list[str]]:
    """As `study.report.extract_text`; Raises as `stored`."""
    found = stored(home)
    tables = _tables(found)
    return found.frames.study, extract(found.frames, tables), claims(tables), found.lacks


def status(home: Path) -> Made:
    """How many runs are there, and of each of the others what it lacks; Raises as `stored`."""
    found = stored(home)
    runs = found.frames.runs
    counts = ", ".join(f"{count} {state}" for state, count in runs["state"].value_counts().items())
    lines = [f"study {found.frames.study}: {len(runs)} runs that others made, imported from {found.file}: {counts}"]
    lines += [f"  {line}" for line in _short_of(found)]
    return Made("\n".join([*lines, *([lacking_text(found.lacks)] if found.lacks else [])]), found.lacks)


def _short_of(found: Read) -> list[str]:
    """A line of each run that lacks something."""
    return [f"{row['train_id']} {run_title(row)}: {lacks}" for row in rows_of(found.frames.runs) if (lacks := _lacking(row))]


def _lacking(row: Row) -> str:
    """What a run lacks, and why; empty where it lacks nothing."""
    for what, state, reason in (("", row["state"], row["reason"]), ("scores ", row["eval_state"], row["eval_reason"])):
        if state not in ("done", "none"):
            return f"{what}{state}" + (f": {reason}" if reason else "")
    return ""


def _written(found: Read, tables: Tables) -> Path:
    """Write the tables; returned is the report's folder."""
    folder = report_dir(found.home, found.home.parent)
    for name, content in table_files(tables).items():
        atomic_write(folder / "tables" / name, content)
    return folder


def _tables(found: Read) -> Tables:
    tables = analyse(found.frames, np.random.default_rng(derive(0, "bootstrap")))
    return tables | {"claims": CLAIM_TABLE.frame([]), "declared": DECLARED_TABLE.frame([]), "published": PUBLISHED_TABLE.frame([])}


def _notes(found: Read, lacks: Sequence[str]) -> list[str]:
    short, home = _short_of(found), found.home
    lines = [markdown_escape(line) for line in short[:MANY]]
    lines += [f"{len(short) - MANY} more lack something: {typed_here('status', home.name, home.parent)}"] if len(short) > MANY else []
    lines += [markdown_escape(lacking_text(lacks))] if lacks else []
    lines.append(f"Records: {home}/imported/<id>/ (record, items, curve); this report: {home}/report/")
    lines.append(f"The same as a page, with charts: {home}/report/index.html (opens in a browser, needs no network)")
    return [*lines, f"The same again, from the records: {typed_here('report', home.name, home.parent)}"]


def _origins(found: Read) -> Origins:
    records = found.records
    harnesses: dict[str, int] = {}
    for one in records:
        for name in sorted({score.harness for score in one.scores.values() if score.harness}):
            harnesses[name] = harnesses.get(name, 0) + 1
    again = typed("olora_bench.study", "import", found.file)  # by its name alone: the record says nothing of the machine
    remake = [f"{again}    # the records and this report again, from the same files"]
    files = {"files that were read": {str(sum(len(one.sources) for one in records)): len(records)}}
    return Origins(len(records), ({"Scored by": harnesses} if harnesses else {}) | files, remake)
