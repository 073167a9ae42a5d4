"""What a reader must know before believing a study's tables, in words."""

from __future__ import annotations

from typing import assert_never

from olora_bench.analysis import StudyFrames, Tables, caveats, rows_of
from olora_bench.analysis.caveats import Caveat
from olora_bench.analysis.reasons import ArmsAbsent, RunsDiffer, SourcesUnread
from olora_bench.words import reasons
from olora_bench.words.numbers import pp
from olora_bench.words.reasons import counted


def worded(caveat: Caveat) -> str:
    """A caveat as a sentence, without a capital or a full stop.

    >>> worded(caveats.PairsOfOneArm("tuned", 1, 6))
    'tuned: in 1 of 6 pairs (cell, seed) only one arm has a run: left out'
    """
    match caveat:
        case caveats.Problem(sentence):
            return sentence
        case caveats.NoRecords():
            return "no run of this study has a record yet"
        case caveats.NeverWarm(runs, of, least, greatest):
            low, high = (f"{100 * share:.3g}%" for share in (least, greatest))
            at = low if low == high else f"{low} to {high}"
            return f"{runs} of {counted(of, 'run')} ended at {at} of their learning rate: their warm-up was as long as their training"
        case ArmsAbsent() | SourcesUnread():
            return reasons.worded(caveat)
        case caveats.CellsOfOneArm(cells, of):
            return f"in {cells} of {counted(of, 'cell')} only one arm has runs: left out"
        case caveats.SearchesGoOn(arms):
            return f"tuned: no pair yet, the learning-rate search of {' and '.join(arms)} goes on"
        case caveats.PairsOfOneArm(role, pairs, of):
            return f"{role}: in {pairs} of {counted(of, 'pair')} (cell, seed) only one arm has a run: left out"
        case caveats.ClippedUnequally(role, arm, reference):
            shares = f"in {arm:.0%} of the arm's steps and in {reference:.0%} of the reference's"
            return f"{role}: the gradient was clipped {shares}: may be part of the difference"
        case RunsDiffer(what, values):
            return f"the runs do not share one {what}: {', '.join(values)}"
        case caveats.BudgetsDiffer(cell, runs):
            budgets = ", ".join(f"{arm} {count}" for arm, count in runs)
            return f"{cell}: the arms' learning rates were searched with unequal numbers of runs: {budgets}"
        case caveats.NoSensitivity() | caveats.NoGain() | caveats.NotComparedWithFp32():
            return _on_sensitivity(caveat)
        case _:
            return _on_scores(caveat)


def _on_sensitivity(caveat: caveats.NoSensitivity | caveats.NoGain | caveats.NotComparedWithFp32) -> str:
    floor = "over the untouched base beyond what one constant answer gives"
    match caveat:
        case caveats.NoSensitivity(role, model, arms):
            gains = ", ".join(f"{one.arm} {pp(one.gain)} ± {one.half:.1f}" for one in arms)
            return (
                f"{role}: no assay sensitivity: in the mean over benchmarks arms of {model} are not shown to gain {floor} "
                f"({gains} pp, 95% over items): equal scores would not show that they learned equally much"
            )
        case caveats.NoGain(role, model, benchmarks):
            return f"{role}: on {', '.join(benchmarks)} no arm of {model} is shown to gain {floor}"
        case caveats.NotComparedWithFp32(evaluations, of):
            return f"in {evaluations} of {counted(of, 'scoring')} of trained arms, choices in low precision were not compared with fp32's"
        case _:
            assert_never(caveat)


def _on_scores(caveat: caveats.ChosenByOther | caveats.ScoresWarn | caveats.LowPrecision | caveats.BelowOneAnswer) -> str:
    match caveat:
        case caveats.ChosenByOther(criterion):
            other = "scores are another measure: the table learning_rates shows both, each at the rates that have it"
            return f"learning rates were chosen by {criterion}, and {other}"
        case caveats.ScoresWarn(benchmark, arm, warnings):
            return f"scores of {benchmark} carry warnings, as of {arm}: {reasons.listed(warnings)}. All: table scoring"
        case caveats.LowPrecision(percent, arm, benchmark, items):
            where = f"{arm} on {benchmark}, {counted(items, 'item')} compared: table scoring"
            return f"scored in low precision, up to {percent:.1f}% of items get a different answer than in fp32 ({where})"
        case caveats.BelowOneAnswer(benchmark, model, best, constant):
            return (
                f"on {benchmark} no arm's mean of {model} ({best:.1f} at most) reaches what the same answer to every item scores "
                f"({constant:.1f}): a difference there may be a leaning towards that answer; table grid, gave: how often each arm gave it"
            )
        case _:
            assert_never(caveat)


def caveat_lines(frames: StudyFrames, tables: Tables) -> list[str]:
    """The table of warnings as sentences, a contrast's with its name."""
    return [
        worded(row["caveat"]) if row["about"] == frames.study else f"{row['about']}: {worded(row['caveat'])}"
        for row in rows_of(tables["warnings"])
    ]
