"""A study's result as Markdown that reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis import MIN_SEEDS_FOR_VERDICT, StudyFrames, Tables, one_answer_pays, rows_of, warnings, where
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.outcome import Outcome, outcomes
from olora_bench.analysis.verdicts import longest, primary
from olora_bench.process.progress import size
from olora_bench.report.render import coarseness, markdown_escape, markdown_table
from olora_bench.words import cells as cell_words
from olora_bench.words import verdicts as words
from olora_bench.words.numbers import NOTHING, interval, number, rate

LOSS_COLUMNS = ("metrics.report_loss_start", "metrics.report_loss", "metrics.report_gold_logprob_start", "metrics.report_gold_logprob")
MANY_RUNS = 12
"""A longer list of runs is left to the CSV."""
MANY_TABLES = 4
"""More cells (model, rank, setting) than this share one table of differences."""
HEADLINE_SHARE = 0.9


def study_report(frames: StudyFrames, tables: Tables, notes: Sequence[str]) -> str:
    """The whole report: verdict, count and cells of every comparison; convergence; learning rates; cost; runs; what is missing.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.
        notes: lines for the end, as they are to stand in Markdown: where things are written, what comes next.
    """
    parts = [f"# {frames.study}: {' '.join(frames.title.split())}"]
    headline = of_longest(tables)
    for outcome in outcomes(tables["verdicts"]):
        *sections, limits = _sections(outcome, headline)
        parts += sections if limits in parts else [*sections, limits]  # what seeds cannot tell is said once
    parts += _rates(tables["rates"], tables["sensitivity"]) + _costs(tables["costs"]) + _runs(frames.runs)
    if caveats := warnings(frames, tables):
        parts += ["## Caveats", "\n".join(f"- {line}" for line in caveats)]
    return "\n\n".join([*map(markdown_escape, parts), "\n".join(notes)])


def _sections(outcome: Outcome, tables: Tables) -> list[str]:
    """The parts of one comparison: heading, sentences, tables, what its seeds cannot tell."""
    comparison = outcome.comparison
    lines = [*sentences(outcome, tables), *_speed(comparison.columns, comparison.rows_in(tables["speedups"]))]
    lines += schedules(tables["schedules"], comparison.columns)
    cells = primary(comparison.rows_in(tables["cells"]))
    return [
        f"## {words.title(comparison)}", "\n".join(lines), *cell_tables(cells, comparison),
        limits_of(cells) or "No run of this comparison has been scored.",
    ]  # fmt: skip


def sentences(outcome: Outcome, tables: Tables) -> list[str]:
    """A comparison's verdict, what it stands on, and its count of cells. `tables`: those of the longest schedules."""
    comparison = outcome.comparison
    facts = words.facts(outcome, comparison.rows_in(tables["measures"]))
    counts = rows_of(comparison.rows_in(tables["win_counts"]))
    return [words.headline(outcome), words.sentence("; ".join(facts)), *map(words.count, counts)]


def of_longest(tables: Tables) -> Tables:
    """The tables without shorter schedules, which stand in the table schedules and enter no verdict."""
    return {name: longest(frame) if "longest" in frame else frame for name, frame in tables.items()}


def begun(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of cells that have something to show: a paired seed, or a diverged one."""
    return cells[(cells["seeds"] > 0) | (cells["diverged"] > 0)]


def cell_tables(cells: pd.DataFrame, comparison: Comparison) -> list[str]:
    """The cells of a comparison: a table each, or where they are many one of differences."""
    groups = [group for _, group in cells.groupby("cell", sort=False)]
    if len(groups) > MANY_TABLES:
        return [f"{markdown_table(*_overview(groups))}\n\n{cell_words.LEGEND}"]
    return [
        f"{cell_words.ran(group, comparison)}\n\n{markdown_table(*_cell_table(group, comparison))}" for group in groups if len(begun(group))
    ]


def limits_of(cells: pd.DataFrame) -> str:
    """What the seeds of a comparison's cells can tell; empty where none is scored."""
    scored = cells[cells["seeds"] > 0]
    return cell_words.limits(scored, many=scored["cell"].nunique() > MANY_TABLES) if len(scored) else ""


def _overview(groups: Sequence[pd.DataFrame]) -> tuple[list[str], list[list[str]]]:
    """All cells of a large study in one table of differences; the grid with everything else is a file."""
    benchmarks = list(dict.fromkeys(name for group in groups for name in group["benchmark"]))
    rows = []
    for group in groups:
        first, table = group.iloc[0], {row["benchmark"]: cell_words.marked(row) for row in rows_of(group)}
        cell = f"{first['model']} r{first['rank']}" + (f" {first['setting']}" if first["setting"] else "")
        shown = [table.get(name, NOTHING) for name in benchmarks]
        rows.append([cell, f"{int(group['seeds'].min())}/{first['seeds_planned']}", *shown, number(group["difference"].mean(), sign=True)])
    return ["difference, pp", "seeds", *benchmarks, "mean"], rows


def _cell_table(cells: pd.DataFrame, comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the benchmarks of one cell, and their mean."""
    judged, pays = int(cells["seeds"].max()) >= MIN_SEEDS_FOR_VERDICT, one_answer_pays(cells)
    arm, reference = comparison.arm, comparison.reference
    header = ["benchmark", "items", "chance", *(["one answer"] if pays.any() else []), "base", reference, arm, f"{arm} - {reference}"]
    tail = ["95% interval", "items only", "seeds only", "verdict"] if judged else ["detectable"]
    rows = []
    for row, paid in zip(rows_of(cells), pays, strict=True):
        shown = [f"{row['benchmark']} ({row['metric']})", str(row["items"]), number(row["chance"])]
        shown += [number(row["constant"]) if paid else NOTHING] if pays.any() else []
        shown += [*_scores(row), number(row["detectable"])]
        if judged:
            shown[-1:] = [interval(row["low"], row["high"]), shown[-1], number(row["detectable_seeds"]), cell_words.reading(row)]
        rows.append(shown)
    complete = cells.dropna(subset=["difference"])
    means = _scores(complete[[*SCORES, "difference"]].astype(float).mean())
    blank = [""] * (len(header) - 1 - len(means))
    return [*header, *tail], [*rows, [f"mean of {len(complete)}", *blank, *means, *[""] * len(tail)]]


SCORES = ("base", "score_reference", "score_arm")


def _scores(row: Mapping[str, Any] | pd.Series[float]) -> list[str]:
    return [*(number(row[name]) for name in SCORES), number(row["difference"], sign=True)]


def _speed(key: dict[str, Any], speedups: pd.DataFrame) -> list[str]:
    mine = speedups[(speedups["q"] == HEADLINE_SHARE) & (speedups["unit"] == "steps")]
    if mine.empty:
        return []
    exact = mine[mine["bound"] == "exact"]
    told = f"{exact['speedup'].min():.2f} to {exact['speedup'].max():.2f} times" if len(exact) > 1 else ""
    told = f"{exact['speedup'].iloc[0]:.2f} times" if len(exact) == 1 else told
    bounds = [f"{row['bound']} {row['speedup']:.2f} times" for row in rows_of(mine[mine["bound"].isin(["at most", "at least"])])]
    unknown = int((mine["bound"] == "none").sum())
    parts = [*([told] if told else []), *bounds, *([f"unknown in {unknown}"] if unknown else [])]
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in mine["verdict"].value_counts(sort=False).items())
    coarse = "".join(f"; {note}" for note in sorted({coarseness(note) for note in mine["note"]} - {""}))
    return [
        f"Speed to {HEADLINE_SHARE:.0%} of {key['reference']}'s drop in loss, in steps: {'; '.join(parts)} as fast "
        f"(above 1: {key['arm']} is sooner; cells: {verdicts}{coarse})."
    ]


def schedules(frame: pd.DataFrame, key: dict[str, Any]) -> list[str]:
    """A line a (model, rank): with how much shorter a schedule an arm matches its reference. `frame` is the schedules frame."""
    mine = frame[(frame["contrast"] == key["contrast"]) & (frame["role"] == key["role"])]
    lines = []
    for (model, rank), planned in mine.groupby(["model", "rank"], sort=False):
        group = planned[planned["seeds"] > 0]
        if not (group["share"] > 1).any():
            continue  # no shorter schedule has runs yet
        missing = " (pairs missing)" if (planned["seeds"] + planned["diverged"] < planned["seeds_planned"]).any() else ""
        best = group[group["smallest"]]
        lengths = ", ".join(f"{steps:g}" for steps in group["steps_arm"])
        what = f"{model} r{rank}: completed schedules of {lengths} steps against {group['steps_reference'].iloc[0]:g}{missing}"
        if best.empty:
            lines.append(f"{what}: none matches {key['reference']}'s final loss.")
        else:
            sure = "" if best["sure"].iloc[0] else " (not sure: no interval beside 0)"
            lines.append(f"{what}: {key['arm']} matches {key['reference']}'s final loss with 1/{best['share'].iloc[0]} of the steps{sure}.")
    return lines


def _rates(rates: pd.DataFrame, sensitivity: pd.DataFrame) -> list[str]:
    several = rates.groupby(["cell", "arm"])["lr"].transform("nunique") > 1 if len(rates) else pd.Series(dtype=bool)
    if len(rates):
        known = rates["tune"].notna() | (rates["diverged"] > 0)
        several &= known.groupby(rates["cell"]).transform("any")
        sensitivity = sensitivity[sensitivity["best_lr"].notna()]
    if not several.any():
        return []
    parts = ["## Learning rates"]
    for _, group in rates[several].groupby(["cell", "model", "rank", "setting"], sort=False):
        arms = list(dict.fromkeys(group["arm"]))
        lrs = sorted(group["lr"].unique())
        table = {(row["arm"], row["lr"]): row for row in rows_of(group)}
        rows = [[rate(lr), *(_point(table.get((arm, lr))) for arm in arms)] for lr in lrs]
        criterion = group["criterion"].iloc[0] + (", score in percent" if group["score"].notna().any() else "")
        lines = [f"{where(group.iloc[0])}: {criterion} by learning rate (best in brackets)", "", markdown_table(["lr", *arms], rows)]
        edges = group[group["edge"].notna()]
        ends = {"low": "lowest", "high": "highest"}
        lines += ["", *(f"Edge: {row['arm']}'s best is the {ends[row['edge']]} tried ({rate(row['lr'])}): no tuned verdict."
                        for row in rows_of(edges))] if len(edges) else []  # fmt: skip
        parts.append("\n".join(lines))
    if len(sensitivity):
        rows = [
            [_who(row), str(row["tuning_runs"]), rate(row["best_lr"]), number(row["best_loss"], digits=3),
             number(row["off_low"], digits=3, sign=True), number(row["off_high"], digits=3, sign=True),
             NOTHING if pd.isna(row["good_width"]) else f"{row['good_width']:.1f}x{' or more' if row['good_open'] else ''}"]
            for row in rows_of(sensitivity)
        ]  # fmt: skip
        parts.append(markdown_table(["arm", "runs", "best lr", "loss there", "at lr/3", "at 3 lr", "good region"], rows))
    return parts


def _point(row: dict[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    if row["diverged"]:
        return f"{row['diverged']} of {row['n_runs']} diverged"
    text = number(row["tune"], digits=3)
    text = f"[{text}]" if row["best"] else text
    return text if pd.isna(row["score"]) else f"{text}, {number(row['score'])}"


def _who(row: dict[str, Any]) -> str:
    return f"{row['model']} r{row['rank']}{' ' + row['setting'] if row['setting'] else ''} {row['arm']}"


def _costs(costs: pd.DataFrame) -> list[str]:
    if costs.empty:
        return []
    rows = [
        [_who(row), str(row["n_runs"]), number(row["train_seconds"]), number(row["tokens_per_s"], digits=0),
         number(row["init_seconds"], digits=2), NOTHING if pd.isna(row["init_share"]) else f"{row['init_share']:.1%}",
         NOTHING if pd.isna(row["peak_above_base_bytes"]) else size(int(row["peak_above_base_bytes"])),
         NOTHING if pd.isna(row["parameters_trainable"]) else f"{row['parameters_trainable']:,.0f}"]
        for row in rows_of(costs)
    ]  # fmt: skip
    header = ["arm", "runs", "train s", "tokens/s", "init s", "init share", "memory above base", "trainable"]
    return ["## Cost", markdown_table(header, rows)]


def _runs(runs: pd.DataFrame) -> list[str]:
    tally = ", ".join(f"{count} {state}" for state, count in runs["state"].value_counts(sort=False).items())
    if len(runs) > MANY_RUNS:
        return [f"{len(runs)} runs: {tally}."]
    rows = [
        [f"{row['model']} {row['arm']} r{row['rank']} lr{rate(row['lr'])} seed {row['seed']}", row["state"],
         *(number(row[column], digits=3) for column in LOSS_COLUMNS)]
        for row in rows_of(runs)
    ]  # fmt: skip
    return ["## Runs", markdown_table(["run", "state", "loss before", "after", "gold log-prob before", "after"], rows)]
