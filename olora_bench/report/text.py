"""A study's result as Markdown that reads well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from olora_bench.analysis import MIN_SEEDS_FOR_VERDICT

NOTHING = "–"
LOSS_COLUMNS = ("report_loss_start", "report_loss", "report_gold_logprob_start", "report_gold_logprob")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table; the first column is text, the others are numbers.

    >>> print(markdown_table(["benchmark", "LoRA"], [["piqa", "61.0"]]))
    | benchmark | LoRA |
    |:----------|-----:|
    | piqa      | 61.0 |
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))) + " |"

    rule = "|" + "|".join(f":{'-' * (w + 1)}" if i == 0 else f"{'-' * (w + 1)}:" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def _number(value: float | None, *, sign: bool = False) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:+.1f}" if sign else f"{value:.1f}"


def contrast_section(cells: pd.DataFrame, *, arm: str, reference: str) -> str:
    """The tables of one contrast, one a (model, rank, lr): accuracy in percent, difference in percentage points."""
    parts = []
    for (model, rank, lr), group in cells.groupby(["model", "rank", "lr"], sort=False):
        rows = [
            [f"{row['benchmark']} ({row['metric']})", str(row["items"]), _number(row["chance"]), _number(row["base"]), _number(row["reference"]),
             _number(row["arm"]), _number(row["difference"], sign=True), _number(row["detectable"])]
            for row in group.to_dict("records")
        ]  # fmt: skip
        complete = group.dropna(subset=["difference"])
        means = [_number(complete[c].mean()) for c in ("base", "reference", "arm")] if len(complete) else [NOTHING] * 3
        difference = _number(complete["difference"].mean(), sign=True) if len(complete) else NOTHING
        rows.append([f"mean of {len(complete)}", "", "", *means, difference, ""])
        header = ["benchmark", "items", "chance", "base", reference, arm, f"{arm} - {reference}", "detectable"]
        seeds = group["seeds"]
        pairs = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
        parts.append(f"{model}, rank {rank}, lr {lr:g}, {pairs} paired seeds\n\n{markdown_table(header, rows)}")
    return "\n\n".join(parts)


def what_seeds_cannot_tell(cells: pd.DataFrame) -> str:
    """What the number of seeds allows to be said, in words."""
    seeds = int(cells["seeds"].max()) if len(cells) else 0
    low, high = cells["detectable"].min(), cells["detectable"].max()
    item_part = (
        "" if pd.isna(low) else f" From the items alone, nothing below {low:.1f} to {high:.1f} pp (column `detectable`) could be found."
    )
    if seeds < MIN_SEEDS_FOR_VERDICT:
        names = {0: "No pair of runs", 1: "One seed", 2: "Two seeds"}
        return f"{names[seeds]}: no verdict. How far a score moves when only the seed changes cannot be told from so few.{item_part}"
    return f"{seeds} seeds.{item_part} The interval between seeds is not in this table."


def losses_table(runs: pd.DataFrame) -> str:
    """Loss of the held-out report part before and after training, a row a run, in nats per supervised token."""
    rows = [
        [
            f"{row['model']} {row['arm']} r{row['rank']} lr{row['lr']:g} seed {row['seed']}",
            row["state"],
            *(NOTHING if pd.isna(row[column]) else f"{row[column]:.3f}" for column in LOSS_COLUMNS),
        ]
        for row in runs.to_dict("records")
    ]
    return markdown_table(["run", "state", "loss before", "after", "gold log-prob before", "after"], rows)


def study_report(title: str, runs: pd.DataFrame, contrasts: Sequence[tuple[str, str, str, pd.DataFrame]], notes: Sequence[str]) -> str:
    """The whole report.

    Args:
        title: the study's title.
        runs: one row a run with its state and losses.
        contrasts: (arm, reference, primary or secondary, cells) of each contrast.
        notes: lines for the end: where things are written, what is missing.
    """
    parts = [f"# {title}"]
    for arm, reference, kind, cells in contrasts:
        parts.append(f"## {arm} against {reference} ({kind})")
        if cells.empty:
            parts.append("No run of this contrast has been scored.")
            continue
        parts += [contrast_section(cells, arm=arm, reference=reference), what_seeds_cannot_tell(cells)]
        parts.append("Accuracy in percent; differences and `detectable` in percentage points (80% power at the 5% level).")
    parts += ["## Runs", losses_table(runs), "\n".join(notes)]
    return "\n\n".join(parts)
