"""A study's report, page and figures, made from its manifest and records: no torch, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from olora_bench.analysis import StudyFrames, Tables, analyse, load_study
from olora_bench.analysis.claims import judge
from olora_bench.analysis.complete import lacking, lacking_text
from olora_bench.config import claims_dir, compose, machine, plain
from olora_bench.config.lines import typed
from olora_bench.errors import BadInput, StoreError
from olora_bench.report import study_report, table_files
from olora_bench.report.extract import claims, extract
from olora_bench.report.origins import origins
from olora_bench.report.page import study_page
from olora_bench.report.page_runs import run_pages_of
from olora_bench.report.published import beside_ours, read_claims, read_published
from olora_bench.report.render import markdown_escape
from olora_bench.seeds import derive
from olora_bench.store import Store, atomic_write, inside, lease
from olora_bench.store.sealed import sha256
from olora_bench.study.declared import declared
from olora_bench.study.expand import find_study, to_name
from olora_bench.study.fresh import inputs_digest, keep_made_from
from olora_bench.study.locked import Since, since_locked
from olora_bench.study.manifest import manifest_in, read_manifest
from olora_bench.study.names import Home, changing, check_name, homes, typed_here
from olora_bench.study.remake import remake
from olora_bench.study.schema import parse_study
from olora_bench.words.claims import claims_table
from olora_bench.words.declared import CHANGED, declared_sentences, since_text

if TYPE_CHECKING:
    from olora_bench.figures import Captioned, LeftOut


@dataclass(frozen=True)
class Analysed:
    """A study read and analysed: what tables, figures and pages are made from. `folder` is where its report goes."""

    frames: StudyFrames
    tables: Tables
    results_dir: Path
    folder: Path


def open_results(name: str, overrides: Sequence[str] = ()) -> Home:
    """Where a study's own files are, by its name or path and the overrides that it ran under.

    Raises:
        BadInput: there is no such study, it cannot be carried out as written, or another one ran there under its name.
    """
    path = find_study(name)
    raw = plain(compose(overrides, config_name=path.name, config_dir=path.parent))
    home = Home(machine(raw).results_dir, parse_study(raw.get("study"), str(path)).name, tuple(overrides))
    check_name(home.results_dir, home.name, path)
    return home


def analysed(home: Home, file: Path | None = None, since: Since | None = None) -> Analysed:
    """Read a study's records and analyse them. The same records give the same frames.

    Args:
        home: the study's.
        file: the study's file, whose history says when it was declared; null looks for it by the study's name.
        since: what has changed since the study was locked, where that is known.

    Raises:
        BadInput: the study has not been run here.
        RecordError: its manifest cannot be read.
    """
    manifest, results_dir = read_manifest(home), home.results_dir
    if manifest is None:
        raise BadInput(not_run(home, file))
    since = since or since_locked(home, file)
    frames = load_study(Store(results_dir), manifest)
    if since.changes:
        frames = replace(frames, problems=[*frames.problems, f"{CHANGED}: {since_text(since.changes)}"])
    rng = np.random.default_rng(derive(0, "bootstrap"))
    tables = analyse(frames, rng)
    tables["claims"] = claims_table(judge(read_claims(_claims_dir(results_dir)), frames, tables, rng))
    tables["declared"] = declared(home.name, frames.runs, file, since)
    tables["published"] = beside_ours(read_published(inside(results_dir, results_dir / "published")), frames)
    return Analysed(frames, tables, results_dir, home.report)


def not_run(home: Home, file: Path | None) -> str:
    """That a study has no runs in a results folder, and the command that makes them, with the study named as it is found from here."""
    found = [manifest for one in homes(home.results_dir, home.name) if (manifest := manifest_in(one)) is not None]
    under = [f"with {' '.join(one.overrides)}" if one.overrides else "without overrides" for one in found]
    asked = f" with {' '.join(changing(home.overrides))}" if changing(home.overrides) else ""
    said = f"study {home.name} has not been run{asked} in {home.results_dir}"
    if under:
        return f"{said}. It has been run there {', and '.join(under)}: give the same overrides"
    return f"{said}: {typed('olora_bench.study', 'run', home.name if file is None else to_name(file), *home.overrides)}"


def _claims_dir(results_dir: Path) -> Path:
    """A results folder may bring its own claims; else those that came with this package."""
    own = inside(results_dir, results_dir / "published" / "claims")
    return own if own.is_dir() else claims_dir()


@dataclass(frozen=True)
class Report:
    """A study's report as text, what the study lacks, and why the report could not be written, null where it was."""

    text: str
    lacks: list[str]
    unwritten: str | None = None


def report(name: str, overrides: Sequence[str], *, run_pages: bool = False) -> Report:
    """The report of a study, printed, as tables and as a page: written to `results/<study>/report/`. With `run_pages` each run gets a page
    of its own beside it.

    Raises:
        BadInput: the study has not been run here.
    """
    home, file = open_results(name, overrides), find_study(name)
    since = since_locked(home, file)
    inputs = inputs_digest(home, file, since)  # first: what changes while it is read makes the report anew
    found = analysed(home, file, since)
    lacks = lacking(found.frames)
    text = study_report(found.frames, found.tables, notes(found, lacks))
    try:
        with lease(found.folder.parent, wait=True):  # of two reports at once one is written after the other, and none is mixed of both
            outputs = write_page(found, file, run_pages=run_pages)
            tables = ((f"tables/{name}", content) for name, content in table_files(found.tables).items())
            outputs |= _write(found.folder, [("report.md", (text + "\n").encode()), *tables])
            keep_made_from(found.folder, inputs, outputs, complete=not lacks)
    except StoreError as error:
        return Report(text, lacks, f"{found.folder}: this report could not be written there: {error}")
    return Report(text, lacks)


def _write(folder: Path, files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Write files of a report; returns the SHA-256 of each."""
    digests = {}
    for name, content in files:
        atomic_write(folder / name, content)
        digests[name] = sha256(content)
    return digests


def extract_text(name: str, overrides: Sequence[str]) -> tuple[str, str, str, list[str]]:
    """A study's own name, what it found in a few lines of Markdown, its answers to the papers' claims, and what it lacks.

    Raises:
        BadInput: the study has not been run here.
    """
    home = open_results(name, overrides)
    found = analysed(home, find_study(name))
    return home.name, extract(found.frames, found.tables), claims(found.tables), lacking(found.frames)


def write_page(found: Analysed, study_file: Path | None, *, run_pages: bool = False) -> dict[str, str]:
    """Write `index.html` of a study's report, and with `run_pages` `runs/<train_id>.html`; returns the SHA-256 of each.

    Args:
        study_file: the file that declares the study, None where it is not known.
    """
    store = Store(found.results_dir)
    again = remake(found.frames.study, study_file, found.results_dir, found.frames.overrides)
    where = origins(found.frames, again, run_pages=run_pages)
    written = _write(found.folder, [("index.html", study_page(found.frames, found.tables, where))])
    pages = run_pages_of(store, found.frames) if run_pages else iter(())
    return written | _write(found.folder, ((f"runs/{train_id}.html", content) for train_id, content in pages))


def notes(found: Analysed, lacks: Sequence[str] = ()) -> list[str]:
    """What is missing, where things were written, what comes next."""
    frames, study = found.frames, found.frames.study
    lines = [
        markdown_escape(f"{row['train_id']} {row['what']}" + (f": {row['reason']}" if row["reason"] else ""))
        for row in found.tables["not_done"].head(20).to_dict("records")
    ]
    if len(found.tables["not_done"]) > 20:
        lines.append(f"{len(found.tables['not_done']) - 20} more are not done: {found.folder}/tables/not_done.md")
    lines += [markdown_escape(lacking_text(lacks))] if lacks else []
    lines.append(markdown_escape(" ".join(declared_sentences(found.tables["declared"]))))
    lines.append(f"Records: {found.results_dir}/runs/<id>/ (record, loss curve, items of every benchmark); this report: {found.folder}/")
    lines.append(f"The same as a page, with charts: {found.folder}/index.html (opens in a browser, needs no network)")
    lines.append(f"What went into a run's id: {typed_here('explain', frames.runs['train_id'].iloc[0], found.results_dir)}")
    if study == "demo":
        whole = remake("paper", find_study("paper"), found.results_dir)[1].rpartition("#")[0].strip()
        lines.append(f"demo is one model; the papers' comparison: {whole}")
    return lines


def figures_text(name: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Write a study's tables and figures to `results/<study>/report/`; returned: what was drawn, what was left out and why; and what the
    study lacks.

    Raises:
        BadInput: the study has not been run here.
    """
    found = analysed(open_results(name, overrides), find_study(name))
    with lease(found.folder.parent, wait=True):
        for file, content in table_files(found.tables).items():
            atomic_write(found.folder / "tables" / file, content)
        return write_figures(found.frames, found.tables, found.folder / "figures"), lacking(found.frames)


def write_figures(frames: StudyFrames, tables: Tables, folder: Path) -> str:
    """Every figure of a study as PDF, SVG and PNG, and `captions.md`; figures of an earlier state that are no longer drawn are removed."""
    from olora_bench.figures import FORMATS, LeftOut, captions, file_bytes, study_figures

    shown: list[Captioned] = []
    left_out: list[LeftOut] = []
    written = {folder / "captions.md"}
    for one in study_figures(frames, tables):
        if isinstance(one, LeftOut):
            left_out.append(one)
            continue
        shown.append(one)
        for form in FORMATS:
            path = folder / f"{one.name}.{form}"
            atomic_write(path, file_bytes(one.figure, form))
            written.add(path)
    atomic_write(folder / "captions.md", captions(frames.study, shown, left_out).encode())
    for path in sorted(folder.iterdir()):
        if path not in written and path.suffix.removeprefix(".") in FORMATS:
            path.unlink()
    lines = [f"{one.name}: {one.title}" for one in shown] + [f"{one.name}: left out, {one.reason}" for one in left_out]
    kinds = ", ".join(form.upper() for form in FORMATS)
    return "\n".join([*lines, f"{len(shown)} figures ({kinds}) with their captions: {folder}/"])
