"""`python -m olora_bench.study import STUDY.yaml`: runs that others made, through the same checks, verdicts, tables and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, analyse
from olora_bench.analysis.complete import lacking, lacking_text
from olora_bench.analysis.imported import differ, frames_of
from olora_bench.errors import BadInput
from olora_bench.foreign.importing import Imported, import_runs
from olora_bench.foreign.record import ImportedRecord, read
from olora_bench.foreign.schema import ForeignStudy, read_study
from olora_bench.report import study_report, table_files
from olora_bench.report.origins import Origins
from olora_bench.report.page import study_page
from olora_bench.report.published import PUBLISHED_TABLE
from olora_bench.report.render import markdown_escape
from olora_bench.seeds import derive
from olora_bench.store import atomic_write, inside
from olora_bench.store.sealed import sealed
from olora_bench.study.names import FOREIGN
from olora_bench.study.report import write_figures
from olora_bench.words.claims import CLAIM_TABLE
from olora_bench.words.declared import DECLARED_TABLE
from olora_bench.words.judged import left_out
from olora_bench.words.numbers import rate


@dataclass(frozen=True)
class Read:
    """An imported study before its analysis: its frames, its records, its folder."""

    frames: StudyFrames
    records: tuple[ImportedRecord, ...]
    home: Path

    @property
    def lacks(self) -> list[str]:
        """What it lacks. It asks for no scores of untouched bases: nobody imports those."""
        return lacking(replace(self.frames, runs=self.frames.runs.assign(base_eval_id=None)))


@dataclass(frozen=True)
class Made:
    """An imported study: its report as text, what it lacks, and the report's folder."""

    text: str
    lacks: list[str]
    folder: Path


def import_study(path: Path, results_dir: Path, *, figures: bool = False) -> Made:
    """Read the runs that a study file names, write their records, and make the report from these.

    Args:
        path: of the study file.
        results_dir: where records and report go, to `<name>/`.
        figures: whether figures are drawn too.

    Raises:
        BadInput: the file is not as described, nothing is found, or another study ran under its name.
        StoreError: nothing can be written there.
    """
    found = read_runs(path, results_dir)
    tables, report, lacks = _tables(found.frames), found.home / "report", found.lacks
    text = study_report(found.frames, tables, _notes(found.home, lacks))
    page = study_page(found.frames, tables, _origins(path, found.records))
    for name, content in {"index.html": page, "report.md": (text + "\n").encode(), **_table_files(tables)}.items():
        atomic_write(report / name, content)
    if figures:
        text = f"{text}\n{write_figures(found.frames, tables, report / 'figures')}"
    return Made(text, lacks, report)


def read_runs(path: Path, results_dir: Path) -> Read:
    """Read the runs that a study file names, and write their records, from which the frames are.

    Raises:
        BadInput, StoreError: as for `import_study`.
    """
    study = read_study(path)
    home = inside(results_dir, results_dir / study.name)
    if (home / "manifest.json").exists():
        raise BadInput(f"{path}: name={study.name} is taken in {results_dir}: a study ran there under it. Choose another name")
    found = import_runs(study, path.parent, home)
    records = tuple(read(home, one.run_id) for one in found.records)
    asked = frames_of(study, home, records, found.absent, _problems(study, found, records))
    value = {"schema_version": 1, "kind": "imported study", "file": path.name, "runs": [one.run_id for one in records]}
    atomic_write(home / FOREIGN, sealed(value))
    said = () if asked.found is None else asked.found.left_out
    problems = [*asked.frames.problems, *(f"left out: {left_out(reason)}".replace("\0", ", ") for reason in said)]
    return Read(replace(asked.frames, problems=problems), records, home)


def _table_files(tables: Tables) -> dict[str, bytes]:
    return {f"tables/{name}": content for name, content in table_files(tables).items()}


def _tables(frames: StudyFrames) -> dict[str, pd.DataFrame]:
    tables = analyse(frames, np.random.default_rng(derive(0, "bootstrap")))
    return tables | {"claims": CLAIM_TABLE.frame([]), "declared": DECLARED_TABLE.frame([]), "published": PUBLISHED_TABLE.frame([])}


def _problems(study: ForeignStudy, found: Imported, records: Sequence[ImportedRecord]) -> list[str]:
    """What a reader must know before believing the tables."""
    problems = [f"these {len(records)} runs were trained and scored elsewhere: nothing here was run, and what their files say is believed"]
    rates = {one.arm: sorted({rate(other.lr) for other in records if other.arm == one.arm}) for one in records}
    listed = "; ".join(f"{arm} {', '.join(own)}" for arm, own in sorted(rates.items()))
    problems.append(f"learning rates are as given ({listed}): nothing says how they were chosen, so none is called tuned")
    problems += [f"the runs do not share one {what}: {', '.join(values)}" for what, values in differ(records, study.contrasts).items()]
    if any("report_loss" in one.losses for one in records):
        problems.append("the held-out loss is the trainer's eval_loss, over the examples that the trainer was given")
    unknown = sorted({name for one in records for name, score in one.scores.items() if score.items is None})
    if unknown:
        problems.append(f"how many items {', '.join(unknown)} has is not known: its scores are read to a millionth")
    return [*problems, *found.notes]


def _notes(home: Path, lacks: Sequence[str]) -> list[str]:
    lines = [markdown_escape(lacking_text(lacks))] if lacks else []
    lines.append(f"Records: {home}/imported/<id>/ (record, items, curve); this report: {home}/report/")
    return [*lines, f"The same as a page, with charts: {home}/report/index.html (opens in a browser, needs no network)"]


def _origins(path: Path, records: Sequence[ImportedRecord]) -> Origins:
    harnesses: dict[str, int] = {}
    for one in records:
        for name in sorted({score.harness for score in one.scores.values() if score.harness}):
            harnesses[name] = harnesses.get(name, 0) + 1
    remake = [f"python -m olora_bench.study import {path.name}    # the records and this report again, from the same files"]
    files = {"files that were read": {str(sum(len(one.sources) for one in records)): len(records)}}
    return Origins(len(records), ({"Scored by": harnesses} if harnesses else {}) | files, remake)
