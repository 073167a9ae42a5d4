"""What a study says of the papers' claims, in words and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED, Judged, evidence
from olora_bench.analysis.described import Column, Table, View
from olora_bench.words.numbers import interval, minus, number, pp, probability, rate
from olora_bench.words.reasons import counted
from olora_bench.words.speed import worth

_LACKING = {
    "losses on the way": "no held-out loss was read during training",
    "scores": "no cell is scored",
    "costs": "the runs did not measure it",
    "adapters": "the runs did not measure their adapters",
    "travel by ratio": "needs the distance that A and B travelled at ratios below and above 1",
    "losses by ratio": "needs the held-out loss before training, and after it at ratio 1, below it and above it",
    "complete pairs": "no pair of runs is complete",
    "no longest": "no pair of the longest schedules has runs yet",
}

FLIPPED = "sign flips over blocks, these items"
"""A test and what it takes as given."""
_FACTORS = {"product": "BA", "a": "A", "b": "B"}
_ORTHONORMAL = 1.001
"""A condition number below this is 1 but for rounding."""

MEANINGS = {
    SUPPORTED: "this study’s runs show it",
    NOT_SUPPORTED: "this study’s runs show the contrary",
    UNRESOLVED: "this study’s runs cannot tell",
    NOT_TESTED: "this study has no runs that could tell",
}
MARKS: dict[str, str] = {SUPPORTED: "✓", NOT_SUPPORTED: "✗", UNRESOLVED: "?", NOT_TESTED: "–"}

CLAIM_TABLE = Table(
    "claims",
    "a claim of a paper",
    (
        Column("claim", "its name, that of its file in results/published/claims", heading="claim"),
        Column("paper", "the paper", heading="paper"),
        Column("sentence", "what it says, in short", heading="in short"),
        Column("verdict", "`supported`, `not supported`, `unresolved` or `not tested here`", heading="verdict"),
        Column("figure", "what the verdict rests on", heading="figure"),
        Column("protocol", "the study's; empty where it does not compare the claim's arms", heading="protocol"),
        Column("runs", "the train_ids behind it"),
    ),
)
CLAIM_VIEW = View(
    "claims",
    "Claims",
    "Claims of the papers, and what this study's runs say of them. Each is judged on its own: no p is corrected over the claims. Tests are "
    "over seeds or blocks and about these items and examples, but for a difference in held-out loss where records keep each example's.",
    CLAIM_TABLE,
)


def claims_table(judged: Iterable[Judged]) -> pd.DataFrame:
    """The table of claims, a row each."""
    return CLAIM_TABLE.frame(
        {
            "claim": one.claim.claim,
            "paper": one.claim.paper,
            "sentence": one.claim.sentence,
            "verdict": one.finding.verdict,
            "figure": figure(one.finding.evidence),
            "protocol": one.protocol,
            "runs": " ".join(one.finding.runs),
        }
        for one in judged
    )


def figure(basis: evidence.Evidence) -> str:
    """What a verdict rests on, as a clause without a full stop.

    >>> figure(evidence.NotCompared("olora", "lora"))
    'no olora against lora here'
    """
    match basis:
        case evidence.NotCompared(arm, reference):
            return f"no {arm} against {reference} here"
        case evidence.Lacking(what):
            return _LACKING[what]
        case evidence.Unmeasured(measures):
            return f"the runs did not measure {', '.join(measures)}"
        case evidence.BenchmarksLacking(benchmarks):
            return f"needs scores of {', '.join(benchmarks)} and of others"
        case evidence.TooFewModels(models):
            return f"{counted(models, 'model') if models else 'no model is scored'}: two or more are needed"
        case evidence.StepsWorth() | evidence.SpeedInside():
            return _speed(basis)
        case evidence.WinCounts() | evidence.ModelGains() | evidence.GainBySide():
            return _scores(basis)
        case evidence.SizeAndMemory() | evidence.InitCost() | evidence.InitAlone():
            return _resources(basis)
        case evidence.Stability() | evidence.Measured() | evidence.Conditioning():
            return _training(basis)
        case evidence.TradeOff() | evidence.LossByRatio():
            return _ratios(basis)
        case _:
            assert_never(basis)


def _speed(basis: evidence.StepsWorth | evidence.SpeedInside) -> str:
    paper = "the paper names no factor" if basis.factor is None else f"the paper's factor is {basis.factor:g}"
    if isinstance(basis, evidence.StepsWorth):
        stops = ", as of one look though the study stops by its looks" if basis.looks else ""
        examples = "new examples" if basis.new_examples else "these examples"
        settings = "; ".join(_setting(one, basis.reference) for one in basis.settings)
        family = _family(len(basis.settings), "setting") if len(basis.settings) > 1 else ""
        return f"{settings}{family}. From separately completed schedules, over new seeds and {examples}{stops}; {paper}"
    speeds = ", ".join(map(_inside, basis.cells))
    return (
        f"speed in steps to {basis.share:.0%} of the reference's drop in loss, above 1 is sooner: {speeds}; "
        f"{counted(basis.faster, 'cell')} faster, {basis.slower} slower, {basis.unresolved} unresolved"
        f"{_family(len(basis.cells), 'cell')}; {paper}. From curves inside one schedule: a hint, which decides nothing"
    )


def _setting(one: evidence.Setting, reference: str) -> str:
    others = f" (not judged: {', '.join(map(worth, one.others))})" if one.others else ""
    return f"in steps of {reference} that end at the same loss, {worth(one.headline)}{others}"


def _inside(one: evidence.Speed) -> str:
    if not np.isfinite(one.ratio):
        return "unknown"
    if one.bound != "exact":
        return f"{one.bound} {one.ratio:.2f}x"
    return f"{one.ratio:.2f}x" if np.isnan(one.low) else f"{one.ratio:.2f}x ({one.low:.2f} to {one.high:.2f})"


def _family(members: int, what: str) -> str:
    """How tests were corrected: over a family of so many, or not at all where one stands alone.

    >>> _family(1, "cell"), _family(4, "cell")
    (', uncorrected', ', Holm over the 4 cells')
    """
    return ", uncorrected" if members <= 1 else f", Holm over the {members} {what}s"


def _scores(basis: evidence.WinCounts | evidence.ModelGains | evidence.GainBySide) -> str:
    if isinstance(basis, evidence.WinCounts):
        return "; ".join(map(_count, basis.counts))
    if isinstance(basis, evidence.ModelGains):
        gains = ", ".join(f"{one.model} {pp(one.difference)} pp ({counted(one.seeds, 'seed')})" for one in basis.models)
        return f"{gains}; {FLIPPED}: a gain is tested in each, uncorrected, and a loss is Bonferroni over the {len(basis.models)} models"
    blocks = counted(basis.blocks, "block")
    return f"{pp(basis.named)} pp there, {pp(basis.others)} pp elsewhere, {blocks}, p {probability(basis.p)}, uncorrected, {FLIPPED}"


def _count(one: evidence.WinCount) -> str:
    chance = f"{one.null_low} to {one.null_high} by chance ({counted(one.blocks, 'block')}, flipped whole; these items)"
    return f"{one.wins} of {counted(one.cells, 'cell')}, {chance}"


def _resources(basis: evidence.SizeAndMemory | evidence.InitCost | evidence.InitAlone) -> str:
    if isinstance(basis, evidence.SizeAndMemory):
        same = "equal" if basis.same_size else "differ"
        memory = f"{_estimated(basis.memory, '.2f')} times the reference's{_where_most(basis.cells)}"
        return f"parameters {same}; memory above the base {memory}; allowed: {basis.allowed:.2f}{_undecided(basis.allowed, basis.memory)}"
    if isinstance(basis, evidence.InitCost):
        return _init_cost(basis)
    rates = ", but for the learning rate of each arm" if basis.own_rates else ""
    changed = "; the base weights change too, so a saved adapter must be converted or the same base re-initialised"
    size = "of the same size" if basis.same_size else "differ in size"
    differ = "differs" if basis.pairs == 1 else "differ"
    pairs = f"by construction {counted(basis.pairs, 'pair')} {differ} in init alone{rates}"
    return f"{pairs}; read from the runs: adapters {size}{changed if basis.base_changed else ''}"


def _init_cost(one: evidence.InitCost) -> str:
    more = f"{number(abs(one.seconds.mean), digits=2)} s {'less' if one.seconds.mean < 0 else 'more'} than the reference's"
    extent = "" if np.isnan(one.seconds.low) else f" (95% interval {interval(one.seconds.low, one.seconds.high, digits=2)})"
    cost = f"the init itself takes {more}{extent}, {_estimated(one.share, '.2%')} of training{_where_most(one.cells)}"
    return f"{cost}; allowed: {one.allowed:.0%}{_undecided(one.allowed, one.share)}"


def _undecided(threshold: float, *means: evidence.Estimated) -> str:
    """Why means do not say on which side of a threshold they lie, if so."""
    if any(np.isnan(one.low) for one in means):
        return ", and there is no interval"
    return ", which an interval holds" if any(one.low < threshold < one.high for one in means) else ""


def _where_most(cells: int) -> str:
    return f" in the cell where that is most, of {cells}" if cells > 1 else ""


def _estimated(one: evidence.Estimated, form: str) -> str:
    """A mean with its interval.

    >>> _estimated(evidence.Estimated(-0.002, -0.063, 0.059), ".1%")
    '−0.2% (95% interval −6.3% to 5.9%)'
    """
    mean, low, high = (minus(f"{value:{form}}") for value in (one.mean, one.low, one.high))
    return mean if np.isnan(one.low) else f"{mean} (95% interval {low} to {high})"


def _training(basis: evidence.Stability | evidence.Measured | evidence.Conditioning) -> str:
    if isinstance(basis, evidence.Stability):
        return _stability(basis)
    if isinstance(basis, evidence.Measured):
        measured = " | ".join(_arm_measures(one, alone=len(basis.arms) == 1) for one in basis.arms)
        return f"{measured}{_family(basis.family, 'comparison')}"
    a = "" if basis.a is None else f"; of A {_conditions(basis.a, ' and ')}"
    times = "" if np.isnan(basis.b_times.low) else f", a factor of {_estimated(basis.b_times, '#.2g')}"
    b = f"{_conditions(basis.b, f', of {basis.reference} ')}{times}{_family(basis.cells, 'cell')}"
    return f"condition number of B after training {b}{a}{_by_construction(basis)}"


def _stability(one: evidence.Stability) -> str:
    test = "; Fisher's test, uncorrected" if one.at_the_edge else ""
    tried = f"{', '.join(map(_divergences, one.arms))} ({counted(one.rates, 'learning rate')} that both tried{test})"
    tried += "" if one.at_the_edge else ": no rate was high enough to tell"
    if one.spikes is None:
        return tried
    counts = ", ".join(f"{arm.arm} {number(spikes)}" for arm, spikes in zip(one.arms, one.spikes, strict=True))
    more = number(one.more.mean, sign=True)
    extent = "" if np.isnan(one.more.low) else f", 95% interval {interval(one.more.low, one.more.high)}"
    decides = _family(one.cells, "cell") if one.at_the_edge else ", which decides nothing"
    return f"{tried}; spikes a run in the paired runs: {counts} (difference {more}{extent}){decides}"


def _by_construction(basis: evidence.Conditioning) -> str:
    if basis.b_start is None:
        return ""
    moved = "" if basis.moved is None else f" and B moved by {basis.moved:.0%} of its length"
    built = "1 by construction" if basis.b_start < _ORTHONORMAL else rate(basis.b_start)
    tail = ": most of the verdict is the start, not training" if basis.b_start < _ORTHONORMAL else ""
    return f". Before training it was {built}{moved}{tail}"


def _divergences(one: evidence.Divergences) -> str:
    at = f" (at lr {', '.join(map(rate, one.rates))})" if one.rates else ""
    return f"{one.arm} diverged in {one.diverged} of {counted(one.runs, 'run')}{at}"


def _arm_measures(one: evidence.ArmMeasures, *, alone: bool) -> str:
    return f"{'' if alone else f'{one.arm}: '}{'; '.join(map(_mean_difference, one.measures))}"


def _mean_difference(one: evidence.MeanDifference) -> str:
    if one.difference is None:
        return f"{one.measure} not measured"
    extent = "" if np.isnan(one.difference.low) else f" (95% interval {interval(one.difference.low, one.difference.high, digits=3)})"
    return f"{one.measure} {number(one.difference.mean, digits=3, sign=True)} {one.unit}{extent}"


def _conditions(one: evidence.Conditions, between: str) -> str:
    return f"{rate(one.arm)}{between}{rate(one.reference)}"


def _ratios(basis: evidence.TradeOff | evidence.LossByRatio) -> str:
    if isinstance(basis, evidence.TradeOff):
        split = any(len(at.distances) > 1 for at in basis.readings)
        equal = "" if any(at.role == "shared" for at in basis.readings) else ". Not read at equal rates"
        tail = ". How far their product BA travelled was not measured: A and B must agree" if split else ""
        readings = "; ".join(map(_trade_at, basis.readings))
        test = f"sign flips over blocks, these examples, uncorrected{equal}"
        return f"ratios below 1 against those above: {readings}; {test}{tail}"
    undecided = _undecided(basis.needed, *(side.kept for one in basis.cells for side in (one.below, one.above)))
    return f"{'; '.join(map(_by_ratio, basis.cells))}; over new seeds and these examples; needed: {basis.needed:.0%}{undecided}"


def _by_ratio(one: evidence.RatioLosses) -> str:
    below, above = (
        f"{side.loss:.3f} {name} it, {_estimated(side.kept, '.0%')} of the drop"
        for side, name in ((one.below, "below"), (one.above, "above"))
    )
    return f"held-out loss {one.at_one:.3f} at ratio 1, best {below}, and {above}"


def _trade_at(at: evidence.TradeAt) -> str:
    rates = "each at its own rate" if at.role == "tuned" else "at shared rates"
    travelled = " and ".join(f"{_FACTORS[name]} {factor:.2f}" for name, factor in at.distances)
    loss = f"loss {number(at.loss, digits=3, sign=True)} nats"
    return f"{rates}, distance of {travelled} times as far, {loss} ({counted(at.blocks, 'block')})"
