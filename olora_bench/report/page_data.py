"""What a report's page holds as data: its tables as CSV, its runs, and their loss curves thinned to what a screen can show."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.described import View
from olora_bench.analysis.frames import Row, curves_by_run, rows_of, training_cell, where
from olora_bench.analysis.runs import REPORTED, RUN_VIEW, roles_of
from olora_bench.identity import run_title
from olora_bench.report.arm_styles import ArmStyle, arm_styles
from olora_bench.report.render import csv_bytes, strings
from olora_bench.report.tables import VIEWS, printed_tables
from olora_bench.words.numbers import NOTHING
from olora_bench.words.tables import worded, written_name

CURVE_POINTS, FEWEST_POINTS = 160, 24
"""A longer series of train losses is thinned to so many points: the lowest and the highest of each of 80 equal stretches."""
PAGE_POINTS = 250_000
"""Of all curves together: each is thinned to fewer, so that a browser takes the page of thousands of runs too."""
LOSS_DIGITS = 5
SERIES = {"train": "train_loss", "tune": "tune_loss", "report": "report_loss"}
AXES = {"step": 12, "tokens": 12, "wall_s": 4}
"""What a curve may be drawn over, with its significant digits."""


def arms_of(frames: StudyFrames) -> list[str]:
    """References first, then the arms compared with them, then what else ran."""
    declared = [c.reference for c in frames.contrasts] + [c.arm for c in frames.contrasts]
    there = list(dict.fromkeys(frames.runs["arm"]))
    return [arm for arm in dict.fromkeys([*declared, *there]) if arm in there]


def study_data(frames: StudyFrames, tables: Tables, run_pages: bool) -> dict[str, object]:
    """Everything but the curves, as JSON takes it.

    Returns:
        arms (name, colours, dashes, marker), cells (settings of training, in words), cell_of (a table's cell -> its place in `cells`), runs
        (id, arm, cell, lr, seed, state, words, whether it only chose a learning rate), tables (see `table_payload`), shared_lr, run_pages.
    """
    # What trains alike is one setting here, whether its runs were scored or only searched; the longest schedule, the headline's, is first.
    runs = frames.runs.assign(trained=frames.runs["cell"].map(training_cell))
    cells = cell_names(runs.assign(cell=runs["trained"]).sort_values("longest", ascending=False, kind="stable"))
    order = {cell: index for index, cell in enumerate(cells)}
    styles = arm_styles(frames.runs["arm"])
    return {
        "arms": [_arm(name, styles[name]) for name in arms_of(frames)],
        "cells": list(cells.values()),
        "runs": [_run(r, order[r["trained"]]) for r in rows_of(runs.drop_duplicates("train_id"))],
        "tables": [*_shown_tables(frames, tables), *_other_tables(tables)],
        "cell_of": {cell: order[trained] for cell, trained in zip(runs["cell"], runs["trained"], strict=True)},
        "shared_lr": None if frames.tuning is None else frames.tuning.shared_lr,
        "run_pages": run_pages,
    }


def _arm(name: str, style: ArmStyle) -> dict[str, str]:
    return {"name": name, "light": style.colour, "dark": style.on_dark, "dash": style.svg_dashes, "marker": style.svg_marker}


def _run(r: Row, cell: int) -> list[object]:
    """A run as `study_data` lists it."""
    words, only_tuning = run_title(r), set(REPORTED).isdisjoint(roles_of(r["roles"]))
    lr: float | None = None if pd.isna(r["lr"]) else float(f"{r['lr']:.6g}")  # of an imported run it may not be known
    return [r["train_id"], r["arm"], cell, lr, int(r["seed"]), r["state"], words, only_tuning]


def cell_names(runs: pd.DataFrame) -> dict[str, str]:
    """Each cell in words, in the order of the manifest: model, rank and what else tells it apart."""
    first = runs.drop_duplicates("cell")
    words = {r["cell"]: where(r) for r in rows_of(first)}
    steps = runs.groupby("cell", sort=False)["steps"].max()
    seen: dict[str, list[str]] = {}
    for cell, name in words.items():
        seen.setdefault(name, []).append(cell)
    for name, twins in seen.items():
        for count, cell in enumerate(twins if len(twins) > 1 else ()):
            known = steps[cell]
            words[cell] = f"{name}, {known:.0f} steps" if steps[twins].nunique() == len(twins) else f"{name} ({count + 1})"
    return words


def _shown_tables(frames: StudyFrames, tables: Tables) -> list[dict[str, object]]:
    found = [table_payload(name, frame, VIEWS[name]) for name, frame in printed_tables(tables).items()]
    runs = frames.runs.drop(columns=["cell", "family"])
    return [*found, table_payload("runs", runs, RUN_VIEW)]


def _other_tables(tables: Tables) -> list[dict[str, object]]:
    """Frames that no printed table shows whole: what the printed ones were made from."""
    printed = Counter[str]()
    for name, frame in printed_tables(tables).items():
        printed[VIEWS[name].table.name] += len(frame)
    return [table_payload(name, frame, None) for name, frame in tables.items() if printed[name] != len(frame)]


def table_payload(name: str, frame: pd.DataFrame, view: View | None) -> dict[str, object]:
    """A table for the page.

    Returns:
        name, title, caption, main (whether the report prints it), csv (exactly the bytes of `tables/<name>.csv`), columns (index in the
        CSV, heading, whether it holds numbers) and rows (the strings shown; null where the page formats the CSV's values itself).
    """
    said = worded(frame)
    columns = [str(c) for c in said]
    title = name.replace("_", " ").capitalize() if view is None else view.title
    payload = {"name": name, "title": title, "main": view is not None, "csv": csv_bytes(frame).decode()}
    if view is None:
        hidden = {"runs", "cell", "family"}
        kept = [c for c in columns if c not in hidden and said[c].notna().any() and not (said[c] == "").all()]
        named = [[columns.index(c), c.replace("_", " ").replace(".", " "), _numeric(said[c])] for c in kept]
        return payload | {"caption": "", "columns": named, "rows": None}
    shown = [column for column in view.columns if column.name in frame]
    _, rows = strings(view, frame)
    full = [i for i in range(len(shown)) if not rows or any(row[i] != NOTHING for row in rows)]
    named = [[columns.index(written_name(shown[i].name)), shown[i].heading, _numeric(frame[shown[i].name])] for i in full]
    answers = {"True": "yes", "False": "no"}
    texts = [[answers.get(row[i], row[i]) for i in full] for row in rows]
    return payload | {"caption": view.caption, "columns": named, "rows": texts}


def _numeric(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


Series = tuple[int, int, int, list[float]]
"""Steps, tokens and seconds as places in the axes, then the losses there."""


class Curves(TypedDict):
    """Number series that curves share, and train_id -> series (train, tune, report) of losses."""

    axes: list[list[float]]
    curves: dict[str, dict[str, Series]]


def curve_data(frames: StudyFrames) -> Curves:
    """The loss curves, their axes shared, and thinned. Losses have five significant digits, seconds four."""
    pool: dict[tuple[float, ...], int] = {}
    known: dict[tuple[int, bytes], int] = {}
    curves: dict[str, dict[str, Series]] = {}
    runs = list(curves_by_run(frames.curves))

    def place(values: Any, significant: int) -> int:
        key = (significant, values.tobytes())  # most runs share their steps: they are rounded once
        if key not in known:
            known[key] = pool.setdefault(tuple(_rounded(values, significant)), len(pool))
        return known[key]

    points = min(CURVE_POINTS, max(FEWEST_POINTS, PAGE_POINTS // (len(SERIES) * max(1, len(runs)))))
    for train_id, curve in runs:
        series: dict[str, Series] = {}
        for name, column in SERIES.items():
            losses = curve[column]
            at = np.flatnonzero(np.isfinite(losses))
            if not len(at):
                continue
            at = at[thinned(losses[at], points)]
            steps, tokens, seconds = (place(curve[axis][at].astype(float), digits) for axis, digits in AXES.items())
            series[name] = (steps, tokens, seconds, _rounded(losses[at], LOSS_DIGITS))
        curves[train_id] = series
    return {"axes": [list(axis) for axis in pool], "curves": curves}


def plotted(curves: Curves) -> dict[str, object]:
    """The curves as JSON takes them: null on an axis that is not known, as tokens and seconds of an imported run may be."""
    return {**curves, "axes": [[None if value != value else value for value in axis] for axis in curves["axes"]]}


def thinned(values: Any, limit: int) -> Any:
    """Which of a series' values to keep, in order: all while there are at most `limit`, else both ends and the lowest and highest of
    `limit / 2` equal stretches, so that no spike is lost.

    >>> thinned(np.array([0.0, 1.0, 9.0, 1.0, 0.0, -5.0, 0.0, 1.0]), 4).tolist()
    [0, 2, 5, 7]
    """
    if len(values) <= limit:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), limit // 2 + 1).astype(int)
    kept = {0, len(values) - 1}
    for start, end in itertools.pairwise(edges.tolist()):
        kept |= {start + int(values[start:end].argmin()), start + int(values[start:end].argmax())}
    return np.array(sorted(kept))


def _rounded(values: Any, significant: int) -> list[float]:
    """Numbers as short as JSON can write them."""
    rounded = (float(f"{value:.{significant}g}") for value in values)
    return [int(value) if value.is_integer() else value for value in rounded]


def script_json(value: Any) -> str:
    """JSON that may stand inside a `<script>` element: no character of it can end the element or start a comment.

    >>> script_json({"a": "</script><!--"})
    '{"a":"\\\\u003c/script>\\\\u003c!--"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
