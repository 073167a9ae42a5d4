"""A study's result as Markdown that reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from olora_bench.analysis import MIN_SEEDS_FOR_VERDICT, StudyFrames, Tables, one_answer_pays, rows_of, where
from olora_bench.analysis.compared import longest, primary
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.frames import JUDGED_ROLE, groups_of
from olora_bench.analysis.outcome import Outcome, outcomes
from olora_bench.identity import model_rank, run_title
from olora_bench.report.render import markdown_escape, markdown_table
from olora_bench.words import cells as cell_words
from olora_bench.words import starts as start_words
from olora_bench.words import verdicts as words
from olora_bench.words.captions import at_rates
from olora_bench.words.caveats import caveat_lines
from olora_bench.words.costs import cost_table
from olora_bench.words.numbers import NOTHING, interval, number, rate
from olora_bench.words.rates import edge_sentence, point, sensitivity_table
from olora_bench.words.speed import equivalent_lines, speed_lines

LOSS_COLUMNS = ("metrics.report_loss_start", "metrics.report_loss", "metrics.report_gold_logprob_start", "metrics.report_gold_logprob")
MANY_RUNS = 12
"""A longer list of runs is left to the CSV."""
MANY_TABLES = 4
"""More cells (model, rank, setting) than this share one table of differences."""


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
    parts += ["## What an init starts from", *begins] if (begins := started(frames, tables["starts"])) else []
    parts += _rates(tables["rates"], tables["sensitivity"]) + _costs(tables["costs"]) + _runs(frames.runs)
    if caveats := caveat_lines(frames, tables):
        parts += ["## Caveats", "\n".join(f"- {line}" for line in caveats)]
    return "\n\n".join([*map(markdown_escape, parts), "\n".join(notes)])


def _sections(outcome: Outcome, tables: Tables) -> list[str]:
    """The parts of one comparison: heading, sentences, tables, what its seeds cannot tell."""
    comparison = outcome.comparison
    lines = [*sentences(outcome, tables), *speed_lines(comparison, comparison.rows_in(tables["speedups"]))]
    lines += equivalent_lines(comparison.rows_in(tables["equivalent_steps"]))
    cells = primary(comparison.rows_in(tables["cells"]))
    return [
        f"## {words.title(comparison)}", "\n".join(lines), *cell_tables(cells, comparison),
        limits_of(cells) or "No benchmark has been scored in this comparison.",
    ]  # fmt: skip


def sentences(outcome: Outcome, tables: Tables) -> list[str]:
    """A comparison's verdict, what it stands on, and its count of cells. `tables`: those of the longest schedules."""
    comparison = outcome.comparison
    facts = words.facts(outcome, comparison.rows_in(tables["measures"]), comparison.rows_in(tables["scopes"]))
    counts = rows_of(comparison.rows_in(tables["win_counts"]))
    return [words.headline(outcome), *filter(None, [words.sentence("; ".join(facts))]), *map(words.count, counts)]


def of_longest(tables: Tables) -> Tables:
    """The tables without shorter schedules, which stand in the table equivalent_steps and enter no verdict."""
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
        first, table = rows_of(group)[0], {row["benchmark"]: cell_words.marked(row) for row in rows_of(group)}
        cell = model_rank(first) + (f" {first['setting']}" if first["setting"] else "")
        shown = [table.get(name, NOTHING) for name in benchmarks]
        rows.append([cell, f"{int(group['seeds'].min())}/{first['seeds_planned']}", *shown, number(group["difference"].mean(), sign=True)])
    return ["difference, pp", "seeds", *benchmarks, "mean"], rows


def _cell_table(cells: pd.DataFrame, comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the benchmarks of one cell, and their mean."""
    judged, pays = int(cells["seeds"].max()) >= MIN_SEEDS_FOR_VERDICT, one_answer_pays(cells)
    arm, reference = comparison.arm, comparison.reference
    header = ["benchmark", "items", "chance", *(["one answer"] if pays.any() else []), "base", reference, arm, f"{arm} - {reference}"]
    corrected = "verdict" if cells["holm_over"].max() else "verdict, uncorrected"
    tail = ["95% interval", "found from", corrected] if judged else ["items alone"]
    rows = []
    for row, paid in zip(rows_of(cells), pays, strict=True):
        shown = [f"{row['benchmark']} ({row['metric']})", str(row["items"]), number(row["chance"])]
        shown += [number(row["constant"]) if paid else NOTHING] if pays.any() else []
        shown += [*_scores(row), *([interval(row["low"], row["high"])] if judged else []), cell_words.found(row)]
        shown += [cell_words.reading(row)] if judged else []
        rows.append(shown)
    complete = cells.dropna(subset=["difference"])
    means = _scores(complete[[*SCORES, "difference"]].astype(float).mean())
    blank = [""] * (len(header) - 1 - len(means))
    return [*header, *tail], [*rows, [f"mean of {len(complete)}", *blank, *means, *[""] * len(tail)]]


SCORES = ("base", "score_reference", "score_arm")


def _scores(row: Mapping[str, object] | pd.Series[float]) -> list[str]:
    return [*(number(row[name]) for name in SCORES), number(row["difference"], sign=True)]


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
        rows = [[rate(lr), *(point(table.get((arm, lr))) for arm in arms)] for lr in lrs]
        criterion = group["criterion"].iloc[0] + (", score in percent" if group["score"].notna().any() else "")
        lines = [f"{where(group.iloc[0])}: {criterion} by learning rate (best in brackets)", "", markdown_table(["lr", *arms], rows)]
        edges = group[group["edge"].notna()]
        lines += ["", *map(edge_sentence, rows_of(edges))] if len(edges) else []
        parts.append("\n".join(lines))
    return parts + ([markdown_table(*sensitivity_table(sensitivity))] if len(sensitivity) else [])


def started(frames: StudyFrames, starts: pd.DataFrame) -> list[str]:
    """A table a (model, rank, setting, learning rate) of losses beside what the arms start from, then what its columns are; nothing where
    there is none."""
    groups = [group for _, group in groups_of(starts, ["model", "rank", "setting", "lr"])]
    role = JUDGED_ROLE[frames.protocol]
    return [
        f"{where(group.iloc[0])}, {at_rates(role, group['lr'])}: loss beside what an init starts from\n\n"
        f"{markdown_table(*start_words.table(group))}"
        for group in groups
    ] + ([start_words.legend(starts)] if groups else [])


def _costs(costs: pd.DataFrame) -> list[str]:
    return ["## Cost", markdown_table(*cost_table(costs))] if len(costs) else []


def _runs(runs: pd.DataFrame) -> list[str]:
    tally = ", ".join(f"{count} {state}" for state, count in runs["state"].value_counts(sort=False).items())
    if len(runs) > MANY_RUNS:
        return [f"{len(runs)} runs: {tally}."]
    rows = [
        [run_title(row), row["state"],
         *(number(row[column], digits=3) for column in LOSS_COLUMNS)]
        for row in rows_of(runs)
    ]  # fmt: skip
    return ["## Runs", markdown_table(["run", "state", "loss before", "after", "gold log-prob before", "after"], rows)]
