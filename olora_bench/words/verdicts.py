"""What a study says on one comparison, in words: the same sentences on the terminal, on the page and in an extract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import Scope
from olora_bench.analysis.frames import Row, rows_of
from olora_bench.analysis.outcome import Effect, Outcome, Verdict
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.reasons import GivenSearch
from olora_bench.analysis.scopes import About
from olora_bench.words.numbers import found_range, interval, number, probability, rate
from olora_bench.words.reasons import clauses, counted, holm, worded

PROTOCOLS = {
    "shared": "one learning rate for both",
    "tuned": "each arm at its own learning rate",
    "given": "each arm at the learning rate it was given",
}


SEARCH_LUCK = "one search chose each arm's rate for all blocks: its luck is in no interval here"


def sentence(text: str) -> str:
    """A clause as a sentence.

    >>> sentence("1 of 7 pairs missing"), sentence("")
    ('1 of 7 pairs missing.', '')
    """
    return f"{text[0].upper()}{text[1:]}." if text else ""


def against(comparison: Comparison) -> str:
    """E.g. `olora against lora`."""
    return f"{comparison.arm} against {comparison.reference}"


def protocol(comparison: Comparison) -> str:
    """At which learning rates the two sides ran, e.g. `one learning rate for both, 0.0003`."""
    return PROTOCOLS[comparison.role] + ("" if comparison.lr is None else f", {rate(comparison.lr)}")


def title(comparison: Comparison) -> str:
    """A comparison with its protocol and its place in the study."""
    place = "the verdict" if comparison.confirmatory else "beside the verdict"
    return f"{against(comparison)}, {protocol(comparison)} ({place})"


def named(comparison: Comparison) -> str:
    """A comparison with its protocol, e.g. `olora against lora (each arm at its own learning rate)`."""
    return f"{against(comparison)} ({protocol(comparison)})"


def progress(outcome: Outcome) -> str:
    """A comparison with how many of its pairs there are."""
    there = outcome.pairs_planned - outcome.pairs_missing - outcome.diverged
    return f"{against(outcome.comparison)} ({protocol(outcome.comparison)}; {there} of {counted(outcome.pairs_planned, 'pair')})"


def rates(comparison: Comparison) -> str:
    """The learning rates of a comparison in a cell of a table: `own`, `both 0.0003`."""
    return {"tuned": "own", "given": "as given"}.get(comparison.role, f"both {rate(comparison.lr)}")


def unit(outcome: Outcome) -> str:
    """The unit of what a comparison is judged by."""
    return "nats" if outcome.by_loss else "pp"


def amount(outcome: Outcome, value: float, *, sign: bool = True) -> str:
    """A difference in what a comparison is judged by, as it is printed."""
    return number(value, digits=3 if outcome.by_loss else 1, sign=sign)


def span(effect: Effect, *, digits: int) -> str:
    """The 95% interval of an effect; a dash where there is none."""
    return interval(effect.low, effect.high, digits=digits)


def found(effect: Effect, *, digits: int) -> str:
    """From where on a difference is found with 80% power, and what that may be, e.g. `1.4 (1.1 to 2.6)`; a dash for what is not known."""
    return found_range(effect.found, effect.found_low, effect.found_high, digits=digits)


def about(outcome: Outcome, effect: Effect) -> str:
    """What an interval is about, e.g. `new seeds and new items`."""
    seeds = "new models, new seeds" if outcome.scope is Scope.NEW_MODELS else "new seeds"
    models = ", these models" if outcome.scope is Scope.THESE_MODELS else ""
    drawn = "new items" if effect is outcome.score else "new examples" if effect.new_items else "these examples"
    return f"{seeds} and {drawn}{models}"


def digits_of(outcome: Outcome) -> int:
    """Decimals of what a comparison is judged by."""
    return 3 if outcome.by_loss else 1


def interval_words(outcome: Outcome) -> str:
    """E.g. `95% interval +0.1 to +1.9 over new seeds and new items`; empty where there is none."""
    effect = outcome.judged
    kind = "repeated 95% interval" if outcome.by_looks else "95% interval"
    rates = ", at the rates chosen" if one_search(outcome) else ""
    return f"{kind} {span(effect, digits=digits_of(outcome))} over {about(outcome, effect)}{rates}" if effect.has_interval else ""


def one_search(outcome: Outcome) -> bool:
    """Whether each arm's rate was chosen once for all blocks, so that the luck of that choice is in no interval."""
    return outcome.comparison.role == "tuned" and not any(isinstance(reason, GivenSearch) for reason in outcome.reasons)


def headline(outcome: Outcome) -> str:
    """A verdict in one sentence, with its difference, interval and number of blocks, and then its reasons."""
    return " ".join(filter(None, headline_parts(outcome)))


def headline_parts(outcome: Outcome) -> tuple[str, str]:
    """The sentence of `headline`, and its reasons, which may be empty."""
    arm, reference, effect = outcome.comparison.arm, outcome.comparison.reference, outcome.judged
    if not effect.known:
        why = clauses(outcome.own_reasons) or "no run of this comparison is done"
        return f"No verdict yet on {against(outcome.comparison)}: {why}.", ""
    blocks = f"{counted(effect.blocks, 'block')} of model and seed"
    extent = "; ".join(filter(None, (interval_words(outcome), blocks)))
    scale = "nats of held-out loss" if outcome.by_loss else "percentage points on average over benchmarks"
    at = f"{arm} is at {amount(outcome, effect.difference)} {scale} against {reference}"
    match outcome.verdict:
        case Verdict.BETTER | Verdict.WORSE | Verdict.BETTER_WITHIN_MARGIN | Verdict.WORSE_WITHIN_MARGIN:
            within = "" if outcome.verdict in (Verdict.BETTER, Verdict.WORSE) else f", within {_margin(outcome)}"
            by = f"{amount(outcome, abs(effect.difference), sign=False)} {scale}{within} ({extent})"
            said = f"{arm} {_ends(outcome)} than {reference}, by {by}."
        case Verdict.EQUIVALENT:
            said = f"Equivalent within {_margin(outcome)}: {at} ({extent})."
        case Verdict.UNRESOLVED | Verdict.NONE:
            said = f"{sentence(outcome.verdict)[:-1]}: {at} ({extent})."
        case Verdict.TOO_FEW_RUNS if outcome.look == 0:
            said = f"Not enough runs for a verdict: {at} ({blocks})."
        case Verdict.TOO_FEW_RUNS:
            return f"Not enough runs for a verdict: {at}, but {blocks} cannot decide; {MIN_BLOCKS} can.", ""
        case _:
            assert_never(outcome.verdict)
    return said, sentence(clauses(outcome.own_reasons))


def _margin(outcome: Outcome) -> str:
    return f"the margin of {outcome.margin:g} {unit(outcome)}"


def _ends(outcome: Outcome) -> str:
    better = outcome.verdict.side > 0
    if outcome.by_loss:
        return "ends at a lower loss" if better else "ends at a higher loss"
    return "scores higher" if better else "scores lower"


def facts(outcome: Outcome, measures: pd.DataFrame, scopes: pd.DataFrame) -> list[str]:
    """What stands below the headline, as clauses: blocks, test, other scopes, gaps, what could have been found, the held-out loss.

    Args:
        measures: the comparison's rows of that table, of the longest schedules.
        scopes: its rows of that table.
    """
    arm, effect = outcome.comparison.arm, outcome.judged
    lines = [f"{outcome.blocks_for} of {counted(effect.blocks, 'block')} for {arm}"] if effect.known else []
    if not pd.isna(outcome.p):
        corrected = holm(outcome.holm_over, "contrast")
        kind, p = "sequential p" if outcome.by_looks else "p", probability(outcome.p)
        if outcome.verdict is Verdict.EQUIVALENT and not pd.isna(outcome.p_inside):
            p = f"{probability(outcome.p_inside)} against a difference of the margin or more, and {p} against none"
        lines.append(f"over {about(outcome, effect)}, {kind} = {p}, {corrected}{_errors(outcome, scopes)}")
    if not pd.isna(outcome.median_unbiased):
        lines.append(f"median-unbiased after stopping: {amount(outcome, outcome.median_unbiased)} {unit(outcome)}")
    if not pd.isna(effect.found):
        lines.append(f"a true difference is found four times in five from {found(effect, digits=digits_of(outcome))} {unit(outcome)} on")
    lines += _other_scopes(outcome, scopes)
    lines += [SEARCH_LUCK] if one_search(outcome) and effect.has_interval else []
    gaps = [(outcome.pairs_missing, "missing"), (outcome.diverged, "diverged")]
    state = ", ".join(f"{count} {word}" for count, word in gaps if count) or "all done"
    lines += [f"{counted(outcome.pairs_planned, 'pair')} of runs planned, {state}"] if outcome.pairs_planned else []
    return [*lines, *_held_out_loss(outcome, measures), *map(worded, outcome.loss_reasons)]


def _of_judged(outcome: Outcome, scopes: pd.DataFrame) -> dict[str, Row]:
    """Its rows of the table `scopes` of the measure that it is judged by, by what they are about."""
    measure = "report_loss" if outcome.by_loss else "score"
    return {row["about"]: row for row in rows_of(scopes) if row["measure"] == measure}


def _errors(outcome: Outcome, scopes: pd.DataFrame) -> str:
    row = _of_judged(outcome, scopes).get(About.SEEDS_AND_ITEMS)
    if row is None:
        return ""
    single = "losses of examples" if outcome.by_loss else "answers"
    blocks = "blocks, that is seeds" if outcome.scope is Scope.ONE_MODEL else "models, their seeds among them,"
    said = errors(row["block_se"], row["item_se"], f"{blocks} and {single}", _items(outcome), digits=digits_of(outcome) + 1)
    return f" (standard error, {unit(outcome)}: {said})"


def errors(block_se: float, item_se: float, blocks: str, items: str, *, digits: int) -> str:
    """The parts of an error that are known, and what each is of: the blocks' holds more than seeds."""
    parts = ((block_se, f"{blocks} that change from seed to seed,"), (item_se, items))
    said = " and ".join(f"{number(value, digits=digits)} from {name}" for value, name in parts if value == value)
    return said.removesuffix(",")


def _items(outcome: Outcome) -> str:
    return "examples" if outcome.by_loss else "items"


WIDER = ", by chance the wider interval of the two, and the one to read"
"""The error over seeds and items cannot be below that over items; an estimate of it can."""


def _other_scopes(outcome: Outcome, scopes: pd.DataFrame) -> list[str]:
    rows, lines, drawn = _of_judged(outcome, scopes), [], _items(outcome)
    asked = (
        (About.WITHIN_MODELS, f"of just these models on new seeds and new {drawn}"),
        (About.ITEMS, f"of these trainings on new {drawn}"),
    )
    for scope, name in asked:
        if (row := rows.get(scope)) is not None and not pd.isna(row["low"]):
            extent = interval(row["low"], row["high"], digits=digits_of(outcome))
            lines.append(f"{name}: 95% interval {extent} {unit(outcome)}{_remark(outcome, row) if scope is About.ITEMS else ''}")
    if (row := rows.get(About.FLIPS)) is not None and outcome.judged.has_interval:
        lines.append(
            f"of these {drawn} only: p = {probability(row['p'])} by the exact sign flip over blocks, uncorrected; it needs symmetry"
        )
    return lines


def _remark(outcome: Outcome, items: Row) -> str:
    """That the narrower scope has the greater error. A repeated interval is at another level than `items`, so the errors are compared."""
    if outcome.by_looks:
        return "" if outcome.over_items is None else f"; {worded(outcome.over_items)}"
    return WIDER if items["high"] - items["low"] > outcome.judged.high - outcome.judged.low else ""


def _held_out_loss(outcome: Outcome, measures: pd.DataFrame) -> list[str]:
    losses = measures[measures["measure"] == "report_loss"] if len(measures) else measures
    sides = ((outcome.comparison.reference, "reference"), (outcome.comparison.arm, "arm"))
    levels = ", ".join(f"{arm} {number(losses[f'value_{side}'].mean(), digits=3)}" for arm, side in sides) if len(losses) else ""
    if outcome.by_loss or not outcome.loss.known:
        return [f"held-out loss: {levels}"] if levels else []
    loss = outcome.loss
    test = (
        f", 95% interval {span(loss, digits=3)} over {about(outcome, loss)}, p = {probability(loss.p)}, uncorrected"
        if loss.has_interval
        else ""
    )
    gap = f"{number(loss.difference, digits=3, sign=True)} nats per token{test}"
    return [f"held-out loss: {levels} ({gap})" if levels else f"held-out loss: {gap}"]


def reading(outcome: Outcome) -> str:
    """A verdict and its reasons in a cell of a table, e.g. `worse; runs differ in harness`."""
    return "; ".join(filter(None, (outcome.verdict, clauses(outcome.reasons))))


def mark(verdict: Verdict) -> str:
    """A verdict as a class of style: better, worse or open."""
    return {1: "better", -1: "worse"}.get(verdict.side, "open")


def overview(shown: Sequence[Outcome]) -> str:
    """How the comparisons that carry a verdict stand, in one sentence."""
    if not shown:
        return "This study declares no comparison that carries a verdict."
    counts = ", ".join(f"{count} {verdict}" for verdict in Verdict if (count := sum(one.verdict is verdict for one in shown)))
    return f"{counted(len(shown), 'comparison')} carry a verdict: {counts}."


def count(row: Row) -> str:
    """The paper-style count against its null band. `row` is a row of the table `win_counts`."""
    ties = f", {counted(row['ties'], 'tie')}" if row["ties"] else ""
    where = "inside" if row["null_low"] <= row["wins"] <= row["null_high"] else "outside"
    return (
        f"{row['arm']} has the higher mean in {row['wins']} of {counted(row['cells'], 'cell')} ({counted(row['losses'], 'loss')}{ties}): "
        f"{where} the {row['null_low']} to {row['null_high']} wins that these runs would give 95% of the time, were the arms the same."
    )


def count_caption(blocks: str) -> list[str]:
    """What the figure of counts shows, in sentences; `blocks` says how many there are."""
    return [
        "Mark: cells (model, rank, benchmark) in which the arm's mean over seeds is higher, ties apart.",
        "Grey, its ends included: the central 95% of wins when "
        "whole blocks (model, seed) swap arms at random; cells share runs, so they are not independent.",
        f"Blocks: {blocks}.",
    ]


def without_each(rows: pd.DataFrame) -> list[str]:
    """A comparison's mean over benchmarks without each of them, as a sentence; none where one benchmark or no block is there.

    Args:
        rows: the comparison's rows of the table `left_out`.
    """
    if rows.empty:
        return []
    means = ", ".join(f"{r['benchmark']} {number(r['difference'], sign=True)} ({r['blocks_for']} of {r['blocks']})" for r in rows_of(rows))
    return [f"The mean over the other benchmarks without each in turn, in pp, and blocks for {rows['arm'].iloc[0]}: {means}."]


def comparison_table(shown: Sequence[Outcome], *, by_loss: bool) -> tuple[list[str], list[list[str]]]:
    """Header and rows of comparisons that are judged alike, a row each."""
    if by_loss:
        header = ["held-out loss, nats", "95% interval", "blocks for", "p", "found from, nats"]
    else:
        header = ["score, pp", "95% interval", "blocks for", "p", "found from, pp", "held-out loss, nats", "95% interval"]
    return ["beside the verdict", "learning rates", *header, "reading"], [_row(one) for one in shown]


def _row(outcome: Outcome) -> list[str]:
    comparison, effect, digits = outcome.comparison, outcome.judged, digits_of(outcome)
    row = [f"{comparison.arm} - {comparison.reference}", rates(comparison), amount(outcome, effect.difference)]
    row += [span(effect, digits=digits), f"{outcome.blocks_for} of {effect.blocks}", probability(outcome.p), found(effect, digits=digits)]
    if not outcome.by_loss:
        row += [number(outcome.loss.difference, digits=3, sign=True), span(outcome.loss, digits=3)]
    return [*row, reading(outcome)]


def table_legend(shown: Sequence[Outcome], *, by_loss: bool) -> str:
    """What the columns of `comparison_table` say. `shown`: its comparisons, at least one."""
    over = " or ".join(dict.fromkeys(about(one, one.judged) for one in shown))
    loss = "" if by_loss else f", of the loss over {' or '.join(dict.fromkeys(about(one, one.loss) for one in shown))}"
    luck = f" `own`: {SEARCH_LUCK}." if any(map(one_search, shown)) else ""
    return (
        f"Intervals are over {over}{loss}.{luck} `reading`: of the {'loss' if by_loss else 'score'}, not corrected for the "
        "number of comparisons. `found from`: the smallest true difference that the test finds with 80% power, and what that may be, as "
        "well as the variances are known; a smaller one was not shown absent."
    )
