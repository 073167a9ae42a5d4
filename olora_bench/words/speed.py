"""How fast losses fall, in words: speed-ups to a loss target, equivalent steps, and the captions of their figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.equivalent_steps import Worth
from olora_bench.analysis.frames import Row, groups_of, rows_of, where
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.reasons import CoarseReadings, ReadingsDiffer, TooFewSeeds
from olora_bench.analysis.speed import HEADLINE_SHARE, headline_speeds
from olora_bench.words.numbers import in_series, times
from olora_bench.words.reasons import counted, worded


def reading_notes(speedups: pd.DataFrame) -> list[str]:
    """What limits the readings of the loss that speed-ups are drawn from, each once, as clauses."""
    reasons = dict.fromkeys(r for row in speedups["reasons"] for r in row if isinstance(r, (CoarseReadings, ReadingsDiffer)))
    return sorted(map(worded, reasons))


def as_fast(row: Row) -> str:
    """A speed-up as a factor, or as a bound of one. `row` is a row of the speedups frame.

    >>> as_fast({"bound": "at most", "speedup": 1.8})
    'at most 1.80 times'
    """
    bound = "" if row["bound"] == "exact" else f"{row['bound']} "
    return f"{bound}{times(row['speedup']).removesuffix('x')} times"


def speed_lines(comparison: Comparison, speedups: pd.DataFrame) -> list[str]:
    """A comparison's speed-ups over its cells in one sentence; none where no pair has read its loss on the way. `speedups` are its rows."""
    rows = headline_speeds(speedups)
    if rows.empty:
        return []
    exact = rows_of(rows[rows["bound"] == "exact"].sort_values("speedup"))
    factors = list(dict.fromkeys(as_fast(row) for row in (*exact[:1], *exact[-1:])))
    unknown = int((rows["bound"] == "none").sum())
    parts = [" to ".join([*(factor.removesuffix(" times") for factor in factors[:-1]), *factors[-1:]])] if factors else []
    parts += [as_fast(row) for row in rows_of(rows[rows["bound"].isin(["at most", "at least"])])]
    parts += [f"unknown in {unknown}"] if unknown else []
    cells = ", ".join(f"{count} {verdict}" for verdict, count in rows["verdict"].value_counts(sort=False).items())
    notes = "".join(f"; {note}" for note in reading_notes(rows))
    return [
        f"Speed to {HEADLINE_SHARE:.0%} of {comparison.reference}'s drop in loss, in steps: {'; '.join(parts)} as fast "
        f"(above 1: {comparison.arm} is sooner; cells, uncorrected: {cells}{notes}). Inside one schedule: a hint."
    ]


def speed_sentence(row: Row) -> str:
    """How much sooner an arm reaches a loss target in one cell. `row` is a row of the speedups frame."""
    extent: str = "" if pd.isna(row["low"]) else f" (95% interval {row['low']:.2f} to {row['high']:.2f})"
    notes = "".join(f"; {worded(r)}" for r in row["reasons"] if isinstance(r, (CoarseReadings, ReadingsDiffer)))
    return f"{row['model']} rank {row['rank']}: {as_fast(row)} as fast{extent}, {row['verdict']}{notes}"


def equivalent_lines(table: pd.DataFrame) -> list[str]:
    """A line a (model, rank): how many of the reference's steps those of the arm are worth. `table`: a comparison's rows of that frame."""
    lines = []
    for _, planned in groups_of(table, ["family", "model", "rank"]):
        family = planned[planned["seeds"] > 0]  # of the others there is nothing to tell, but of the judged one that
        if family.empty:
            continue
        (judged,), first = rows_of(planned[planned["judged"].astype(bool)]), rows_of(family)[0]
        others, notes = [worth(Worth.of_row(row)) for row in rows_of(family) if not row["judged"]], _notes(family)
        decides = worth(Worth.of_row(judged)) if judged["seeds"] else f"{judged['steps']:g} are not known"
        said = f"in steps of {first['reference']} that end at the same loss, {first['arm']}'s {decides}"
        beside = f" (described: {', '.join(others)})" if others else ""
        lines.append(f"{family_name(family, table)}: {said}{beside}{''.join(f'; {note}' for note in notes)}.")
    return lines


def _notes(rows: pd.DataFrame) -> list[str]:
    """What limits the rows, each once, with the lengths that it is of unless it is of all."""
    lengths: dict[str, list[str]] = {}
    for row in rows_of(rows):
        for reason in row["reasons"]:
            if not isinstance(reason, TooFewSeeds):
                lengths.setdefault(worded(reason), []).append(f"{row['steps']:g}")
    return [note if len(of) == len(rows) else f"at {in_series(of)} steps {note}" for note, of in lengths.items()]


def family_name(family: pd.DataFrame, table: pd.DataFrame) -> str:
    """A family's model and rank; where the table has several of these, its setting at the judged length too."""
    judged = max(rows_of(family), key=lambda row: row["judged"])
    alike = table[(table["model"] == judged["model"]) & (table["rank"] == judged["rank"])]["family"].nunique()
    return where(judged if alike > 1 else judged | {"setting": ""})


def worth(one: Worth) -> str:
    """How many steps so many are worth.

    >>> worth(Worth(32.0, 0.75, 0.5, 0.9, 0.01, 6))
    '32 are worth 24, 0.75x (0.50 to 0.90)'
    """
    if np.isnan(one.ratio):
        return f"{one.steps:g} are worth an unknown number ({counted(one.seeds, 'seed')})"
    ends = "any" if (one.low, one.high) == (0, np.inf) else _range(one.low, one.high)
    if 0 < one.ratio < np.inf:
        return f"{one.steps:g} are worth {one.steps * one.ratio:.0f}, {one.ratio:.2f}x ({ends})"
    return f"{one.steps:g} are worth {'more' if one.ratio else 'fewer'} than were tried ({ends})"


def _range(low: float, high: float) -> str:
    return f"above {low:.2f}x" if high == np.inf else f"below {high:.2f}x" if low == 0 else f"{low:.2f} to {high:.2f}"


def speed_caption(comparison: Comparison, speedups: pd.DataFrame) -> list[str]:
    """What a figure of speed-ups shows, in sentences; empty ones have nothing to say."""
    arm, reference = comparison.arm, comparison.reference
    return [
        f"Steps in which {reference} loses the given share of its own drop in held-out loss, over the steps in which {arm} gets as far "
        "(first sustained crossing); geometric mean over seed pairs with its 95% interval, filled where p is at most "
        f"{LEVEL:g}, uncorrected.",
        "An arrow, ≤ or ≥: seeds that never get there make it a bound; unknown: both arms have such seeds."
        if (speedups["bound"] != "exact").any()
        else "",
        "Inside one decaying schedule this is a hint; separately completed schedules decide.",
        *(f"{note[0].upper()}{note[1:]}." for note in reading_notes(speedups)),
    ]


def equivalent_caption(table: pd.DataFrame) -> list[str]:
    """What a figure of equivalent steps shows, in sentences. `table`: rows of one comparison."""
    first = rows_of(table)[0]
    arm, reference = first["arm"], first["reference"]
    notes = _notes(table)
    return [
        f"Above: final held-out loss (nats per supervised token) of {arm} and {reference}, each trained to the end of schedules of several "
        f"lengths; mean over seeds. Below: with how many times as many steps {reference} ends at {arm}'s loss, above 1 {arm} is faster. "
        "Bars: 95% interval, every length at which the two losses are not told apart; an arrow where it is open. Filled where it "
        "leaves 1 out, uncorrected.",
        "Ring: the length that decides the claim; the others are described.",
        *(f"{note[0].upper()}{note[1:]}." for note in notes),
    ]


def curve_caption(diverged: int) -> list[str]:
    """What a figure of held-out losses along training shows, in sentences; `diverged` runs are drawn by themselves."""
    return [
        "Mean over seeds of the held-out loss, nats per supervised token, by optimiser step, and the range of the seeds: as a band where "
        "no more than two arms are drawn, and at the end where a setting stands alone.",
        f"A cross ends each diverged run ({diverged}); they are in no mean." if diverged else "",
    ]
