"""How fast losses fall, in words: speed-ups to a loss target, shorter schedules, and the captions of their figures."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.convergence import HEADLINE_SHARE, headline_speeds
from olora_bench.analysis.frames import Row, rows_of
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.reasons import CoarseReadings, ReadingsDiffer
from olora_bench.words.numbers import times
from olora_bench.words.reasons import worded


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


def schedule_lines(schedules: pd.DataFrame, comparison: Comparison) -> list[str]:
    """A line a (model, rank): with how much shorter a schedule an arm matches its reference. `schedules` is that frame."""
    lines = []
    for (model, rank), planned in comparison.rows_in(schedules).groupby(["model", "rank"], sort=False):
        group = planned[planned["seeds"] > 0]
        if not (group["share"] > 1).any():
            continue  # no shorter schedule has runs yet
        missing = " (pairs missing)" if (planned["seeds"] + planned["diverged"] < planned["seeds_planned"]).any() else ""
        ran = f"{model} r{rank}: of {comparison.arm}'s trainings of {_listed(group['steps_arm'])} steps{missing}"
        goal = f"as low as {comparison.reference}'s of {group['steps_reference'].iloc[0]:g}"
        best = rows_of(group[group["smallest"]])
        sure = "" if not best or best[0]["sure"] else " (not sure: the interval includes 0)"
        lines.append(f"{ran} the shortest that ends {goal} has {best[0]['steps_arm']:g}{sure}." if best else f"{ran} none ends {goal}.")
    return lines


def _listed(lengths: Iterable[float]) -> str:
    *rest, last = (f"{steps:g}" for steps in lengths)
    return f"{', '.join(rest)} and {last}" if rest else last


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


def schedule_caption(comparison: Comparison) -> list[str]:
    """What a figure of completed schedules shows, in sentences."""
    arm, reference = comparison.arm, comparison.reference
    return [
        f"Final held-out loss (nats per supervised token) of {arm} trained to the end of T/4, T/2 and T steps, {reference} at T "
        f"(long line; open: {reference}'s own shorter schedules). Bars: 95% interval of the difference, by a paired t, set around "
        f"{reference}'s mean at T; filled where it lies beside that line. Marks of one length stand side by side.",
        "Ring: the shortest schedule that ends as low or lower.",
    ]


def curve_caption(diverged: int) -> list[str]:
    """What a figure of held-out losses along training shows, in sentences; `diverged` runs are drawn by themselves."""
    return [
        "Mean over seeds of the held-out loss, nats per supervised token, by optimiser step, and the range of the seeds: as a band where "
        "no more than two arms are drawn, and at the end where a setting stands alone.",
        f"A cross ends each diverged run ({diverged}); they are in no mean." if diverged else "",
    ]
