"""Why something is unresolved, missing, mixed or coarse, in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import assert_never

from olora_bench.analysis.reasons import (
    ArmsAbsent,
    AtEdge,
    AtLook,
    BestAtEdge,
    BestUnknown,
    CoarseReadings,
    DivergedAt,
    EqualDifferences,
    ErrorOverItems,
    EvaluationsWarn,
    ExamplesDiffer,
    ExamplesUnread,
    Exploratory,
    GivenSearch,
    ItemsDiffer,
    ItemsUnread,
    JudgedByLoss,
    NeverReached,
    NoFiniteFinalist,
    NoRateChosen,
    NothingFound,
    PairsDiverged,
    PairsMissing,
    ReadingsDiffer,
    Reason,
    RestsOnRate,
    RunsDiffer,
    ScoresWarned,
    SearchesOpen,
    SeedLacks,
    ShorterSchedule,
    SourcesUnread,
    TooFewBlocks,
    TooFewItems,
    TooFewRates,
    TooFewSeeds,
    Uncorrected,
)
from olora_bench.words.numbers import in_series, number, rate

EDGES = {"low": "lowest", "high": "highest"}


def counted(count: int, noun: str) -> str:
    """A count with its noun, whose plural is regular.

    >>> counted(1, "pair"), counted(3, "search")
    ('1 pair', '3 searches')
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "ch", "x")) else "s"
    return f"{count} {noun}{ending}"


def holm(over: int, noun: str) -> str:
    """How p's are corrected: over a family of so many.

    >>> holm(3, "contrast"), holm(1, "contrast"), holm(0, "cell")
    ('Holm over 3 contrasts', 'one contrast, so uncorrected', 'uncorrected')
    """
    if over < 2:
        return f"one {noun}, so uncorrected" if over else "uncorrected"
    return f"Holm over {counted(over, noun)}"


def worded(reason: Reason) -> str:
    """A reason as a clause, without a capital or a full stop.

    >>> worded(PairsMissing(1, 7))
    '1 of 7 pairs missing'
    """
    match reason:
        case PairsMissing(missing, planned):
            return f"{missing} of {counted(planned, 'pair')} missing"
        case PairsDiverged(diverged, planned):
            return f"{diverged} of {counted(planned, 'pair')} diverged"
        case RunsDiffer(what, _):
            return f"runs differ in {what}"
        case TooFewBlocks(blocks, needed):
            return f"{blocks} of at least {needed} blocks (model, seed)"
        case TooFewSeeds(seeds, needed):
            return f"{seeds} of at least {counted(needed, 'seed')}"
        case ArmsAbsent(arms):
            return f"the study has no run of {' or of '.join(arms)}"
        case EqualDifferences():
            return "neither seeds nor items show a spread: no error can be told"
        case NothingFound():
            return "too little differs for any difference to be found four times in five"
        case ItemsUnread() | ItemsDiffer() | TooFewItems() | SourcesUnread() | ExamplesUnread() | ExamplesDiffer():
            return _on_items(reason)
        case ErrorOverItems():
            return _over_items(reason)
        case SearchesOpen() | JudgedByLoss() | ShorterSchedule() | NoRateChosen() | Exploratory() | Uncorrected() | AtLook():
            return _on_protocol(reason)
        case GivenSearch() | NoFiniteFinalist() | RestsOnRate() | BestAtEdge() | BestUnknown():
            return _on_finalists(reason)
        case _:
            return _on_runs(reason)


def _on_items(reason: ItemsUnread | ItemsDiffer | TooFewItems | SourcesUnread | ExamplesUnread | ExamplesDiffer) -> str:
    """A reason that lies in the items, or the examples of the held-out loss."""
    match reason:
        case ItemsUnread(pairs, of):
            return f"answers to single items of {pairs} of {counted(of, 'pair')} are not there: nothing is said of new items"
        case ItemsDiffer(benchmark):
            return f"pairs do not share the items of {benchmark}: nothing is said of new items"
        case TooFewItems(benchmark, items, needed):
            return f"{items} of at least {needed} items of {benchmark}: nothing is said of new items"
        case SourcesUnread():
            return "each item is its own: records do not say which share a passage or a source"
        case ExamplesUnread(runs, of):
            return f"about these examples: {runs} of {counted(of, 'run')} {'keeps' if runs == 1 else 'keep'} no losses of single ones"
        case ExamplesDiffer():
            return "about these examples: runs do not share two or more of them"
        case _:
            assert_never(reason)


def _over_items(one: ErrorOverItems) -> str:
    unit, digits, items = ("nats", 4, "examples") if one.by_loss else ("pp", 2, "items")
    errors = f"{number(one.alone, digits=digits)} against {number(one.both, digits=digits)} {unit}"
    verdict = "the same" if one.same else one.verdict
    return f"by chance the error over {items} alone is the greater ({errors}): with it the verdict is {verdict}"


def _on_protocol(reason: SearchesOpen | JudgedByLoss | ShorterSchedule | NoRateChosen | Exploratory | Uncorrected | AtLook) -> str:
    """A reason that lies in what the study declares, or in the rates that were searched."""
    match reason:
        case SearchesOpen(searches):
            return f"{counted(searches, 'learning-rate search')} open or at an edge"
        case JudgedByLoss():
            return "by held-out loss: no benchmark is asked"
        case ShorterSchedule():
            return "a shorter schedule: in no headline"
        case NoRateChosen():
            return "no learning rate chosen: a search is open or at an edge"
        case Exploratory(_, enough):
            return f"exploratory: fewer than {enough} seeds"
        case Uncorrected():
            return "outside the declared family: p as it is"
        case AtLook():
            return at_look(reason)
        case _:
            assert_never(reason)


def at_look(one: AtLook) -> str:
    """Where a contrast stands among its looks.

    >>> at_look(AtLook(2, 5, 8, True, None)), at_look(AtLook(2, 5, 8, False, 12))
    ('decided at look 2 of 5, 8 seeds a model', 'open at look 2 of 5, 8 seeds a model: the next needs 12')
    >>> at_look(AtLook(0, 5, 6, False, 6))
    'no look yet: the first of 5 needs 6 seeds a model'
    """
    seeds = f"{counted(one.seeds, 'seed')} a model"
    if not one.look:
        return f"no look yet: the first of {one.looks} needs {seeds}"
    goes_on = "" if one.next is None else f": the next needs {one.next}"
    return f"{'decided' if one.decided else 'open'} at look {one.look} of {one.looks}, {seeds}{goes_on}"


NOT_AGAINST = ": nothing is shown against that"


def _on_finalists(reason: GivenSearch | NoFiniteFinalist | RestsOnRate | BestAtEdge | BestUnknown) -> str:
    match reason:
        case GivenSearch(runs):
            return f"given this search (runs of it: {', '.join(f'{arm} {count}' for arm, count in runs)})"
        case NoFiniteFinalist(blocks):
            return f"in {counted(blocks, 'block')} of one arm every finalist diverged, so that there is none to keep"
        case RestsOnRate():
            return _at_places(reason)
        case BestAtEdge(arms, by_loss, more):
            lies = f"the best rate of {in_series(arms)}, in the mean, lies at an edge of the finalists"
            advice = "; a new study should have 5 finalists" if more else ""
            return f"on these blocks {lies}, and the loss may be lower beyond{NOT_AGAINST * by_loss}{advice}"
        case BestUnknown(arms, by_loss):
            lost = f"each finalist of {in_series(arms)} diverged in some block, so that the best rate is not known"
            return f"{lost}, and the loss may be lower beyond{NOT_AGAINST * by_loss}"
        case _:
            assert_never(reason)


def _at_places(one: RestsOnRate) -> str:
    said = ((0, "unresolved"), (-1, f"lower for {one.arm}"), (1, f"higher for {one.arm}"))
    at = [(what, [f"the {_place(place, one.finalists)}" for place, side in one.sides if side == which]) for which, what in said]
    told = ", ".join(f"{what} at {in_series(places)}" for what, places in at if places)
    count = {3: "three", 5: "five"}.get(one.finalists, one.finalists)
    scores = " (scores were taken of kept runs alone)" if one.scored else ""
    return f"the held-out loss is {told} of the {count} finalists, held fixed{scores}"


def _place(place: int, of: int) -> str:
    """A place among so many rates, 0 being the middle one.

    >>> [_place(place, 5) for place in (-2, -1, 0, 1, 2)]
    ['lowest', 'second lowest', 'middle', 'second highest', 'highest']
    """
    if not place:
        return "middle"
    inside = of // 2 - abs(place)
    return ("", "second ", "third ")[inside] + ("lowest" if place < 0 else "highest")


Measured = CoarseReadings | ReadingsDiffer | NeverReached | AtEdge | DivergedAt | TooFewRates | SeedLacks | EvaluationsWarn | ScoresWarned


def _on_runs(reason: Measured) -> str:
    """A reason that lies in runs, their losses, rates or scores, rather than in a comparison."""
    match reason:
        case CoarseReadings(readings, needed):
            return f"coarse: {readings} of at least {counted(needed, 'reading')} of the loss"
        case ReadingsDiffer():
            return "the loss was not read at the same steps in both arms"
        case NeverReached(runs, of):
            return f"a bound: the target is never reached by {runs} of {counted(of, 'run')}"
        case AtEdge(side):
            return f"best at the {EDGES[side]} rate tried: no tuned verdict"
        case DivergedAt(rates):
            return f"diverged at {' and '.join(map(rate, rates))}"
        case TooFewRates(rates, needed):
            return f"{rates} of at least {counted(needed, 'learning rate')} with a loss"
        case SeedLacks(seed, lacking, scores):
            what = "scores " if scores else ""
            return f"seed {seed}: {' and '.join(f'{arm} {what}{state}' for arm, state in lacking)}"
        case EvaluationsWarn(text, evaluations, of):
            return f"{text} ({evaluations} of {of})"
        case ScoresWarned(scores, of):
            return f"{scores} of {counted(of, 'score')} {'carries' if scores == 1 else 'carry'} a warning"
        case _:
            assert_never(reason)


def clauses(reasons: Iterable[Reason]) -> str:
    """Reasons as one text, in order, separated by commas; empty where there are none.

    >>> clauses([PairsMissing(1, 7), RunsDiffer("torch", ("2.12", "2.13")), RunsDiffer("harness", ("a", "b"))])
    '1 of 7 pairs missing, runs differ in torch and harness'
    """
    said: list[str] = []
    for _, same in itertools.groupby(reasons, type):
        first, *more = same
        others = "".join(f" and {one.what}" for one in more if isinstance(one, RunsDiffer))
        said += [worded(first) + others] if isinstance(first, RunsDiffer) else map(worded, (first, *more))
    return ", ".join(said)


def listed(reasons: Iterable[Reason]) -> str:
    """Reasons of several seeds or evaluations as one text, separated by semicolons; empty where there are none."""
    return "; ".join(map(worded, reasons))
