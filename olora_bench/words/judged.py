"""Two sides of runs judged, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from olora_bench.analysis import given
from olora_bench.analysis.given import MILLIONTHS, LeftOut, Run
from olora_bench.analysis.judged import MOST_SEEDS, MOST_TIMES_ITEMS, Benchmark, Judged, Needs, Said
from olora_bench.analysis.outcome import Verdict
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.reasons import RunsDiffer
from olora_bench.analysis.scopes import About
from olora_bench.foreign.choice import ACCEPTABLE
from olora_bench.words.numbers import interval, number, probability
from olora_bench.words.reasons import clauses, counted
from olora_bench.words.verdicts import against, amount, errors, found, headline, sentence

NAMES = {
    "prompt": "prompt",
    "fewshot": "number of examples in the prompt",
    "version": "version",
    "metric": "metric",
    "items": "number of items",
}
MANY = 12
"""A longer list of what is left out is cut."""


def text(one: Judged) -> str:
    """The whole: what is compared, the verdict, what each scope says, what would decide it, what was left out."""
    said = [*map(scope, one.said), *_wider(one.said)]
    parts = [_compared(one), _verdict(one), _table(one.benchmarks, one), *said, *_decides(one), *_beside(one)]
    return "\n\n".join([*parts, *_accepted(one.accepted), *_left_out(one.left_out)])


def _compared(one: Judged) -> str:
    seeds = f"{counted(len(one.seeds), 'seed')} of each ({', '.join(map(str, one.seeds))})"
    kind = "item by item" if one.with_items else "by their scores alone, without single items"
    return f"{against(one.outcome.comparison)}: {counted(len(one.benchmarks), 'benchmark')}, {seeds}, {kind}."


def _verdict(one: Judged) -> str:
    """The verdict about new seeds and new items; with too few seeds why there is none."""
    if one.outcome.verdict is not Verdict.TOO_FEW_RUNS:
        return headline(one.outcome)
    comparison, gap = one.outcome.comparison, amount(one.outcome, one.outcome.score.difference)
    luck = (
        "how much a score moves with the seed alone is not known" if len(one.seeds) == 1 else "too few to know how much the seed moves it"
    )
    return (
        f"No verdict on {comparison.arm} against {comparison.reference} as methods: {counted(len(one.seeds), 'seed')} of each, {luck}; "
        f"{MIN_BLOCKS} can decide. {comparison.arm} is at {gap} percentage points on average over benchmarks."
    )


def _table(rows: Sequence[Benchmark], one: Judged) -> str:
    """The benchmarks, aligned for a terminal."""
    comparison = one.outcome.comparison
    cells = [["", "items", comparison.reference, comparison.arm, "difference, pp"]]
    for row in rows:
        items = "not known" if row.items == MILLIONTHS and not one.with_items else str(row.items)
        name = f"{row.name} ({row.metric})" if row.metric not in ("", "score") else row.name
        cells.append([name, items, number(row.reference, digits=2), number(row.arm, digits=2), number(row.difference, digits=2, sign=True)])
    widths = [max(len(line[place]) for line in cells) for place in range(len(cells[0]))]
    aligned = [[part.rjust(width) for part, width in zip(line, widths, strict=True)] for line in cells]
    aligned = [[line[0].ljust(widths[0]), *shown[1:]] for line, shown in zip(cells, aligned, strict=True)]
    return "\n".join(f"  {'  '.join(line)}".rstrip() for line in aligned)


ABOUT = {
    About.SEEDS_AND_ITEMS: "Over new seeds and new items of these benchmarks",
    About.SEEDS: "Over new seeds, these items only",
    About.ITEMS: "Of these trainings, on new items of these benchmarks",
}


def scope(said: Said) -> str:
    """What is said in one scope, in sentences."""
    effect = said.effect
    if not effect.has_interval:
        return f"{ABOUT[said.about]}: {clauses(said.reasons) or 'no spread is seen, so no error can be told'}."
    of = errors(said.block_se, said.item_se, "blocks, that is seeds and answers", "items", digits=2)
    extent = f"95% interval {interval(effect.low, effect.high, digits=2)} pp"
    lines = [f"{extent}, p = {probability(effect.p)}, uncorrected (standard error, pp: {of})"]
    lines.append(f"a true difference is found four times in five from {found(effect, digits=2)} pp on")
    if said.about is About.ITEMS:
        lines.insert(0, f"{said.verdict}")
        lines.append("nothing is said of how they would train again")
    elif said.verdict is None and effect.blocks < MIN_BLOCKS:
        lines.append(f"exploratory: {counted(effect.blocks, 'seed')}, and a verdict needs {MIN_BLOCKS}")
    return f"{ABOUT[said.about]}: {'; '.join(lines)}."


def _wider(said: Sequence[Said]) -> list[str]:
    """That the wider scope has the narrower interval, where it does: the errors are estimates."""
    widths = {one.about: one.effect.high - one.effect.low for one in said if one.effect.has_interval}
    wider = widths.get(About.ITEMS, 0.0) > widths.get(About.SEEDS_AND_ITEMS, float("inf"))
    return ["The interval of these trainings on new items is by chance the wider one, and the one to read."] if wider else []


def _decides(one: Judged) -> list[str]:
    if one.outcome.verdict.decided:
        return []
    if not one.with_items:
        lacking = f" and at least {MIN_BLOCKS} seeds of each side" if len(one.seeds) < MIN_BLOCKS else ""
        return [f"What would decide it: answers to single items (lm-eval's --log_samples){lacking}."]
    if one.needs is not None:
        return [f"What would decide it: {needs(one.needs, len(one.seeds))}."]
    least = f"at least {MIN_BLOCKS} seeds of each side; how many, three seeds of each would tell"
    return [f"What would decide it: {least}."] if len(one.seeds) < 3 else []


def needs(one: Needs, seeds: int) -> str:
    """E.g. `20 seeds of each side in place of 6 would find a true difference as large as the one seen, 0.7 pp, four times in five`."""
    wanted = f"{'the margin' if one.by_margin else 'a true difference as large as the one seen'}, {number(one.difference, digits=2)} pp"
    if one.seeds is None:
        return f"not {MOST_SEEDS} seeds and {MOST_TIMES_ITEMS} times the items would find {wanted}, four times in five"
    items = f" and {one.items} times the items" if one.items > 1 else ""
    now = f" (now {seeds})" if one.seeds != seeds else " (as many as now)"
    return f"{counted(one.seeds, 'seed')} of each side{now}{items} would find {wanted}, four times in five, if the spread is as seen here"


def _beside(one: Judged) -> list[str]:
    differ = [f"{reason.what}: {', '.join(reason.values)}" for reason in one.outcome.reasons if isinstance(reason, RunsDiffer)]
    return [f"The runs do not share one {'; nor one '.join(differ)}."] if differ else []


def _accepted(differs: Iterable[given.MeasureDiffers]) -> list[str]:
    lines = [f"  - {left_out(one)}" for one in differs]
    return ["\n".join(["Compared all the same, as was asked for:", *lines])] if lines else []


def _left_out(reasons: Sequence[LeftOut]) -> list[str]:
    lines = [f"  - {left_out(reason)}" for reason in reasons]
    more = [f"  - and {len(lines) - MANY} more"] if len(lines) > MANY else []
    return ["\n".join(["Left out:", *lines[:MANY], *more, *(f"  {one}" for one in override(reasons))])] if lines else []


def override(reasons: Iterable[LeftOut]) -> list[str]:
    """How a benchmark that is left out may be compared all the same; nothing where none may."""
    for reason in reasons:
        if isinstance(reason, given.MeasureDiffers) and reason.what in ACCEPTABLE:
            return [f"If that is no matter, answer for it: --accept {reason.benchmark}={reason.what}"]
        if isinstance(reason, given.BenchmarkLacking):
            return [f"To compare {reason.benchmark} over the seeds that have it: --benchmarks {reason.benchmark} ..."]
    return []


def left_out(reason: LeftOut) -> str:
    """A reason as a clause.

    >>> left_out(given.ItemsOfSome("piqa", 3, 97))
    '3 items of piqa, which not every run answered; 97 are compared'
    """
    match reason:
        case given.SeedOfOneSide(seed, arm):
            return f"seed {seed}, which {arm} alone has"
        case given.RunLacks(run, benchmarks):
            return f"seed {run.seed}, of which {run.arm} has no score of {', '.join(benchmarks)}"
        case given.BenchmarkLacking(benchmark, runs):
            return f"{benchmark}: no score of {_runs(runs)}"
        case given.MeasureDiffers(benchmark, what, values, items):
            how = f" in {counted(items, 'item')}" if items else f" ({', '.join(values)})"
            return f"{benchmark}: the runs do not share one {NAMES[what]}{how}"
        case given.ItemsOfSome(benchmark, items, kept):
            return f"{counted(items, 'item')} of {benchmark}, which not every run answered; {kept} are compared"
        case given.ItemsUnknown(benchmark, items):
            return f"{counted(items, 'item')} of {benchmark}, of which a run has no answer (empty or NaN)"
        case given.RowsTwice(benchmark, rows):
            return f"{counted(rows, 'row')} of {benchmark} that {'says' if rows == 1 else 'say'} the same again: counted once"
        case given.NotRead(what):
            return what
        case _:
            assert_never(reason)


def _runs(runs: Sequence[Run]) -> str:
    shown = ", ".join(f"{run.arm} seed {run.seed}" for run in runs[:4])
    return f"{shown} and {len(runs) - 4} more" if len(runs) > 4 else shown


def nothing_left(reasons: Sequence[LeftOut]) -> str:
    """Why nothing is left to compare, for an error."""
    return " ".join([f"no benchmark is left to compare. {sentence('; '.join(map(left_out, reasons)))}", *override(reasons)])
