"""A study's result as Markdown that reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis import MIN_SEEDS_FOR_VERDICT, StudyFrames, Tables, one_answer_pays, rows_of, warnings, where
from olora_bench.identity import run_title
from olora_bench.process.progress import size
from olora_bench.report.render import coarseness, markdown_escape, markdown_table
from olora_bench.words.numbers import NOTHING, interval, number, rate

LOSS_COLUMNS = ("metrics.report_loss_start", "metrics.report_loss", "metrics.report_gold_logprob_start", "metrics.report_gold_logprob")
MANY_RUNS = 12
"""A longer list of runs is left to the CSV."""
MANY_TABLES = 4
"""More cells (model, rank, setting) than this share one table of differences."""
HEADLINE_SHARE = 0.9

ROLES = {"shared": "one learning rate for both", "tuned": "each arm at its own learning rate"}
WORDS = {
    "win": "{arm} is better",
    "loss": "{reference} is better",
    "unresolved": "unresolved",
    "not enough runs": "not enough runs for a verdict",
    "no verdict": "no verdict",
}


def study_report(frames: StudyFrames, tables: Tables, notes: Sequence[str]) -> str:
    """The whole report: verdict, count and cells of every comparison; convergence; learning rates; cost; runs; what is missing.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.
        notes: lines for the end, as they are to stand in Markdown: where things are written, what comes next.
    """
    parts = [f"# {frames.study}: {' '.join(frames.title.split())}"]
    for key in rows_of(tables["verdicts"]):
        *told, limits = comparison(key, tables)
        parts += told if limits in parts else [*told, limits]  # what seeds cannot tell is told once
    parts += _rates(tables["rates"], tables["sensitivity"]) + _costs(tables["costs"]) + _runs(frames.runs)
    alarms = warnings(frames, tables)
    if alarms:
        parts += ["## Mind", "\n".join(f"- {line}" for line in alarms)]
    return "\n\n".join([*map(markdown_escape, parts), "\n".join(notes)])


def comparison(key: dict[str, Any], tables: Tables) -> list[str]:
    """The parts of one comparison: heading, sentences, tables, what its seeds cannot tell. `key` is a row of verdicts."""
    arm, reference = key["arm"], key["reference"]
    parts = [f"## {arm} against {reference} ({key['kind'] if key['confirmatory'] else 'beside the verdict'}; {how(key)})"]
    tables = of_longest(tables)
    cells = of(tables["cells"], key)
    cells = cells[cells["primary"].astype(bool)] if len(cells) else cells
    scored = cells[cells["seeds"] > 0] if len(cells) else cells
    summary = [_verdict(key), _count(key, of(tables["win_counts"], key))]
    summary += _loss(key, of(tables["measures"], key)) + _speed(key, of(tables["speedups"], key)) + schedules(tables["schedules"], key)
    parts.append("\n".join(line for line in summary if line))
    groups = [group for _, group in cells.groupby(["cell", "model", "rank", "setting"], sort=False)] if len(cells) else []
    if len(groups) > MANY_TABLES:
        parts.append(overview(groups))
    else:
        parts += [cell_table(group, arm, reference) for group in groups if len(begun(group))]
    if len(scored):
        parts.append(what_seeds_cannot_tell(scored))
    else:
        parts.append("No run of this comparison has been scored.")
    return parts


def how(key: Mapping[str, Any]) -> str:
    """At which learning rates the two sides of a comparison ran, in words. `key` is a row of verdicts."""
    return ROLES[key["role"]] + ("" if pd.isna(key["lr_arm"]) else f", {rate(key['lr_arm'])}")


def of_longest(tables: Tables) -> Tables:
    """The tables without shorter schedules, which stand in the table schedules and enter no verdict."""
    return {name: frame[frame["longest"].astype(bool)] if "longest" in frame else frame for name, frame in tables.items()}


def begun(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of cells that have something to show: a paired seed, or a diverged one."""
    return cells[(cells["seeds"] > 0) | (cells["diverged"] > 0)]


def of(frame: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    """The rows of one comparison."""
    mine = frame
    for name in ("contrast", "role", "lr_reference", "lr_arm"):
        mine = mine[mine[name].isna()] if pd.isna(key[name]) else mine[mine[name] == key[name]]
    return mine


def _verdict(key: dict[str, Any]) -> str:
    words = WORDS[key["verdict"]].format(**key)
    reason = f" ({key['note']})" if key["note"] else ""
    if key["judged_by"] == "report_loss":
        return _loss_verdict(key, f"Verdict: {words}{reason}.")
    if pd.isna(key["difference"]):
        return f"Verdict: {words}{reason}."
    text = f"Verdict: {words}{reason}. Mean over benchmarks: {number(key['difference'], sign=True)} pp"
    if not pd.isna(key["low"]):
        p = f"Holm p {key['p_holm']:.3g}" if key["confirmatory"] else f"p {key['p']:.3g}"
        text += f", 95% interval {interval(key['low'], key['high'])}, {p}"
    return f"{text}; {key['blocks_for']} of {key['blocks']} blocks (model, seed) for {key['arm']}."


def _loss_verdict(key: dict[str, Any], text: str) -> str:
    if pd.isna(key["loss_difference"]):
        return text
    text += f" Mean of the held-out loss: {number(key['loss_difference'], digits=3, sign=True)} nats per token"
    if not pd.isna(key["loss_low"]):
        p = f"Holm p {key['p_holm']:.3g}" if key["confirmatory"] else f"p {key['p']:.3g}"
        text += f", 95% interval {interval(key['loss_low'], key['loss_high'], digits=3)}, {p}"
    return f"{text}; {key['blocks_for']} of {key['loss_blocks']} blocks (model, seed) for {key['arm']}."


def _count(key: dict[str, Any], counts: pd.DataFrame) -> str:
    if counts.empty:
        return ""
    row = counts.iloc[0]
    ties = f", {row['ties']} ties" if row["ties"] else ""
    return (
        f"Count: {row['wins']} wins, {row['losses']} losses{ties} of {row['cells']} cells. Were the arms the same, these runs would give "
        f"{row['null_low']} to {row['null_high']} wins (95%): cells share runs, so this is no row of coins."
    )


def _loss(key: dict[str, Any], measures: pd.DataFrame) -> list[str]:
    losses = measures[measures["measure"] == "report_loss"]
    if losses.empty:
        return []
    arm, reference = losses["value_arm"].mean(), losses["value_reference"].mean()
    told = (
        "" if pd.isna(key["loss_low"]) else f", 95% interval {interval(key['loss_low'], key['loss_high'], digits=3)}, p {key['loss_p']:.3g}"
    )
    gap = number(arm - reference, digits=3, sign=True)
    return [f"Held-out loss: {key['reference']} {reference:.3f}, {key['arm']} {arm:.3f} ({gap} nats per token{told})."]


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


def overview(groups: Sequence[pd.DataFrame]) -> str:
    """All cells of a large study in one table of differences; the grid with everything else is a file."""
    benchmarks = list(dict.fromkeys(name for group in groups for name in group["benchmark"]))
    marks = {"win": " W", "loss": " L", "unresolved": "  ", "no verdict": "  "}
    rows = []
    for group in groups:
        first = group.iloc[0]
        table = {row["benchmark"]: row for row in rows_of(group)}
        shown = [
            f"{number(table[b]['difference'], sign=True)}{' D' if table[b]['diverged'] else marks[table[b]['verdict']]}"
            if b in table
            else NOTHING
            for b in benchmarks
        ]
        named = f"{first['model']} r{first['rank']}" + (f" {first['setting']}" if first["setting"] else "")
        rows.append([named, f"{int(group['seeds'].min())}/{first['seeds_planned']}", *shown, number(group["difference"].mean(), sign=True)])
    table_text = markdown_table(["difference, pp", "seeds", *benchmarks, "mean"], rows)
    letters = "W win, L loss, D a seed diverged (so unresolved), no letter: unresolved or no verdict."
    return f"{table_text}\n\n{letters} Every cell: tables/grid.md."


def cell_table(group: pd.DataFrame, arm: str, reference: str) -> str:
    """The benchmarks of one (model, rank, setting) as a Markdown table below a line that says what ran. `group` holds its rows of cells."""
    judged = int(group["seeds"].max()) >= MIN_SEEDS_FOR_VERDICT
    pays = one_answer_pays(group)
    header = ["benchmark", "items", "chance", *(["one answer"] if pays.any() else []), "base", reference, arm, f"{arm} - {reference}"]
    header += ["95% interval", "items only", "seeds only", "verdict"] if judged else ["detectable"]
    rows = []
    for row, paid in zip(rows_of(group), pays, strict=True):
        shown = [f"{row['benchmark']} ({row['metric']})", str(row["items"]), number(row["chance"])]
        shown += [number(row["constant"]) if paid else NOTHING] if pays.any() else []
        shown += [number(row["base"]), number(row["score_reference"]), number(row["score_arm"]), number(row["difference"], sign=True)]
        if judged:
            star = "*" if row["exploratory"] else ""
            why = f": {row['note']}" if row["verdict"] == "no verdict" or row["diverged"] else ""
            shown += [
                interval(row["low"], row["high"]),
                number(row["detectable"]),
                number(row["detectable_seeds"]),
                f"{row['verdict']}{star}{why}",
            ]
        else:
            shown.append(number(row["detectable"]))
        rows.append(shown)
    complete = group.dropna(subset=["difference"])
    means = [number(complete[c].mean()) for c in ("base", "score_reference", "score_arm")] if len(complete) else [NOTHING] * 3
    difference = number(complete["difference"].mean(), sign=True) if len(complete) else NOTHING
    blank = header.index("base") - 1
    rows.append([f"mean of {len(complete)}", *[""] * blank, *means, difference, *[""] * (len(header) - blank - 5)])
    seeds = group["seeds"]
    pairs = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    lrs = {name: group[f"cell_lr_{side}"].iloc[0] for name, side in ((reference, "reference"), (arm, "arm"))}
    same = len(set(lrs.values())) == 1
    lr = f"lr {rate(lrs[arm])}" if same else ", ".join(f"{name} at lr {rate(value)}" for name, value in lrs.items())
    first = group.iloc[0]
    diverged = f"{first['diverged']} of {first['seeds_planned']} pairs diverged: unresolved" if first["diverged"] else ""
    gone = first["seeds_planned"] - first["diverged"] - int(group["seeds"].max())
    missing = f"{gone} of {first['seeds_planned']} pairs missing" if gone else ""
    ran = ", ".join(part for part in (where(first), lr, f"{pairs} paired seeds", diverged, missing) if part)
    return f"{ran}\n\n{markdown_table(header, rows)}"


def what_seeds_cannot_tell(cells: pd.DataFrame) -> str:
    """What the number of seeds allows to be said, in words."""
    seeds = int(cells["seeds"].max())
    low, high = cells["detectable"].min(), cells["detectable"].max()
    unit = "Accuracy in percent, differences in percentage points (pp)."
    if cells["cell"].nunique() <= MANY_TABLES and one_answer_pays(cells).any():
        unit += " `one answer`: what the same answer to every item scores at best, where that is no matter of luck."
    if seeds < MIN_SEEDS_FOR_VERDICT:
        names = {1: "One seed", 2: "Two seeds"}
        items = (
            ""
            if pd.isna(low)
            else f" From the items alone, nothing below {low:.1f} to {high:.1f} pp could be found (`detectable`: 80% power, 5% level)."
        )
        blind = "How far a score moves when only the seed changes cannot be told from so few."
        return f"{names[seeds]}: no verdict on a cell. {blind}{items} {unit}"
    star = " * exploratory: 3 to 5 seeds." if cells["exploratory"].any() else ""
    own = bool(cells["confirmatory"].any())
    family = "Holm over the declared family" if own else "outside the declared family and not corrected for their number"
    return (
        f"Verdicts by a paired t over seeds, {family}.{star} `items only` and `seeds only`: the smallest difference that {seeds} seeds "
        "find with 80% power, were items, or seeds, the only chance at work. Intervals are over seeds and take the items as they are. "
        f"{unit}"
    )


def without_each(rows: pd.DataFrame) -> list[str]:
    """What a comparison's mean over benchmarks is without each of them, as a sentence; none where one benchmark or no block is there."""
    if rows.empty:
        return []
    told = ", ".join(
        f"{row['benchmark']} {number(row['difference'], sign=True)} ({row['blocks_for']} of {row['blocks']})" for row in rows_of(rows)
    )
    return [f"The mean over the other benchmarks without each in turn, in pp, and blocks for {rows['arm'].iloc[0]}: {told}."]


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
        [run_title(row), row["state"],
         *(number(row[column], digits=3) for column in LOSS_COLUMNS)]
        for row in rows_of(runs)
    ]  # fmt: skip
    return ["## Runs", markdown_table(["run", "state", "loss before", "after", "gold log-prob before", "after"], rows)]
