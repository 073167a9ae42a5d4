"""`make figures`: a study's tables and figures again from its records. No torch, no GPU, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.figures import FORMATS, Captioned, LeftOut, captions, file_bytes, study_figures
from olora_bench.report import table_files
from olora_bench.store import atomic_write
from olora_bench.study.complete import lacking
from olora_bench.study.grid import find_study
from olora_bench.study.tables import analysed, open_results


def figures_text(name: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Write a study's tables and figures to `results/<study>/report/`; returned: what was drawn, what was left out and why; and what the
    study lacks.

    Raises:
        BadInput: the study has not been run here.
    """
    study, results_dir = open_results(name, overrides)
    found = analysed(results_dir, study, find_study(name), overrides)
    for file, content in table_files(found.tables).items():
        atomic_write(found.folder / "tables" / file, content)
    return write_figures(found.frames, found.tables, found.folder / "figures"), lacking(found.frames)


def write_figures(frames: StudyFrames, tables: Tables, folder: Path) -> str:
    """Every figure of a study as PDF, SVG and PNG, and `captions.md`; figures of an earlier state that are no longer drawn are removed."""
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
