"""A comparison in a forest: its two measures with their directions, its verdict in a word, and the group that it stands in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.outcome import Effect, Outcome, Verdict
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.store.manifest import Margin
from olora_bench.words import keys
from olora_bench.words.numbers import number, rate
from olora_bench.words.verdicts import about, digits_of, found, span, unit

GROUPS = {"Primary: carries the verdict": True, "Beside the verdict: not corrected": False}
LONG_NAME = 20


@dataclass(frozen=True)
class Estimate:
    """A difference, arm minus reference, with its 95% interval (NaN: none); `resolved` says whether it is told from nothing."""

    value: float
    low: float
    high: float
    resolved: bool


@dataclass(frozen=True)
class Measure:
    """One of the two measures that every comparison is drawn by.

    Attributes:
        heading, unit, better: its name, its unit, and which way is better, in words.
        by_loss: whether it is the held-out loss, and not the score.
        digits: decimals of a difference.
        sign: 1 where a greater value is better, -1 where a smaller one is; drawings turn the axis so that better is at the right.
        least: what an axis spans at least on either side of 0.
    """

    heading: str
    unit: str
    better: str
    by_loss: bool
    digits: int
    sign: int
    least: float

    def of(self, outcome: Outcome) -> Estimate:
        """What an outcome says in this measure. What carries the verdict is resolved as the verdict says, the other by its own interval."""
        effect, judged = self.effect(outcome), outcome.by_loss == self.by_loss
        resolved = outcome.verdict.decided if judged else self._told(outcome)
        return Estimate(effect.difference, effect.low, effect.high, resolved)

    def effect(self, outcome: Outcome) -> Effect:
        """The difference in this measure."""
        return outcome.loss if self.by_loss else outcome.score

    def text(self, value: float) -> str:
        """A difference as it is printed, with its sign and no unit."""
        return number(value, digits=self.digits, sign=True)

    def interval(self, outcome: Outcome) -> str:
        """The interval of an outcome, or why there is none; empty where the measure has no value."""
        effect = self.effect(outcome)
        if not effect.known:
            return ""
        if not effect.has_interval:
            return f"No interval: {effect.blocks} of at least {MIN_BLOCKS} blocks."
        return span(effect, digits=self.digits)

    def favours(self, outcome: Outcome) -> str:
        """Whom an outcome's difference favours, e.g. `favours olora`, or `leans to olora` where its interval has 0; empty without one."""
        effect, comparison = self.effect(outcome), outcome.comparison
        if not effect.difference or math.isnan(effect.difference):
            return ""
        whom = comparison.arm if self.sign * effect.difference > 0 else comparison.reference
        return f"{'favours' if self._told(outcome) else 'leans to'} {whom}"

    def _told(self, outcome: Outcome) -> bool:
        """Whether its own interval excludes 0, and no loss speaks against an arm that may have a lower one beyond its rates."""
        return self._excludes_0(outcome) and not self._spares(outcome)

    def _excludes_0(self, outcome: Outcome) -> bool:
        effect = self.effect(outcome)
        return effect.low > 0 or effect.high < 0

    def _spares(self, outcome: Outcome) -> bool:
        comparison = outcome.comparison
        against = comparison.arm if self.effect(outcome).difference > 0 else comparison.reference
        return self.by_loss and against in outcome.may_be_lower

    def open_at_edge(self, outcome: Outcome) -> bool:
        """Whether its mark is open though its interval excludes 0: the best rate of the arm that it speaks against lies at an edge."""
        return self._excludes_0(outcome) and self._spares(outcome) and not self.of(outcome).resolved

    def margin(self, shown: Sequence[Outcome], declared: Margin) -> float:
        """The margin in this measure of outcomes that carry a verdict, judged by it or by the other measure; NaN where there is none."""
        own = declared.loss if self.by_loss else declared.score
        return math.nan if own is None or not any(one.comparison.confirmatory for one in shown) else own

    def reach(self, shown: Sequence[Outcome], margin: float = math.nan) -> float:
        """How far an axis goes on either side of 0 to show every finite number of the outcomes, and a margin that is drawn."""
        effects = map(self.effect, shown)
        numbers = [abs(n) for one in effects for n in (one.difference, one.low, one.high) if math.isfinite(n)]
        numbers += [margin] if math.isfinite(margin) else []
        return max([self.least, *(1.08 * n for n in numbers)])


SCORE = Measure("Score, mean over benchmarks", "pp", "higher is better", False, 1, 1, 0.5)
LOSS = Measure("Held-out loss", "nats per token", "lower is better", True, 3, -1, 0.005)


def filled(shown: Sequence[Outcome]) -> str:
    """What the marks of a forest on a page mean."""
    return f"{told(shown)} {keys.opened(filled=True, edge=at_edge(shown))} {keys.line(looks=by_looks(shown))}"


def at_edge(shown: Sequence[Outcome]) -> bool:
    """Whether a best rate at an edge leaves any of the marks open."""
    return any(measure.open_at_edge(one) for measure in measures(shown) for one in shown)


def told(shown: Sequence[Outcome]) -> str:
    """What a filled mark means: with a margin, outcomes that carry a verdict may be equivalent."""
    return keys.TOLD_WITH_MARGIN if any(one.comparison.confirmatory and math.isfinite(one.margin) for one in shown) else keys.TOLD


def by_looks(shown: Sequence[Outcome]) -> bool:
    """Whether any of the intervals is a repeated one."""
    return any(one.by_looks and one.judged.has_interval for one in shown)


def measures(shown: Sequence[Outcome]) -> list[Measure]:
    """The measures that any of the outcomes has a difference in."""
    return [measure for measure in (SCORE, LOSS) if any(measure.effect(one).known for one in shown)]


def named(comparison: Comparison) -> str:
    """A comparison with its protocol, e.g. `olora vs lora, tuned` or `olora vs lora, lr 0.001`."""
    return f"{comparison.contrast}, " + (comparison.role if comparison.lr is None else f"lr {rate(comparison.lr)}")


def verdict_word(outcome: Outcome) -> str:
    """The verdict on the arm, with what it is by, e.g. `better by score`, `worse by loss, within the margin`."""
    word, *margin = outcome.verdict.split(", ")
    by = f" by {'loss' if outcome.by_loss else 'score'}" if outcome.verdict.tested else ""
    return ", ".join([word + by, *margin])


def found_words(outcome: Outcome) -> str:
    """From where on a difference would be found, e.g. `found from 1.4 (1.1 to 2.6) pp`; empty where that is not known."""
    known = not math.isnan(outcome.judged.found)
    return f"found from {found(outcome.judged, digits=digits_of(outcome))} {unit(outcome)}" if known else ""


def caption(shown: Sequence[Outcome], declared: Margin) -> list[str]:
    """What a forest of comparisons shows, in sentences. `declared`: the study's margins, which shade what lies within them."""
    scores = {about(one, one.score) for one in shown if one.score.has_interval}
    losses = {about(one, one.loss) for one in shown if one.loss.has_interval}
    equivalent = any(one.verdict is Verdict.EQUIVALENT for one in shown)
    over = [f"{name} over {' or '.join(sorted(found))}" for name, found in (("of the score", scores), ("of the loss", losses)) if found]
    return [
        "Means over blocks (model, seed), arm minus reference. The axis of the held-out loss is turned, so that right of 0 favours the arm "
        "in both panels.",
        f"95% intervals, from six blocks on: {', '.join(over)}{keys.AT_LOOKS if by_looks(shown) else ''}." if over else "",
        f"Filled where the verdict says which is better{' or that they are equivalent' if equivalent else ''}; of the measure that "
        "carries no verdict, where the interval excludes 0, uncorrected.",
        "Open too where the best rate of the arm with the higher loss lies at an edge of its finalists."
        if any(one.may_be_lower for one in shown)
        else "",
        "Shaded: differences within the study's margin."
        if any(math.isfinite(one.margin(shown, declared)) for one in measures(shown))
        else "",
        "Grey ticks, where the verdict is open: a true difference from there on is found four times in five."
        if any(not math.isnan(one.judged.found) and not one.verdict.decided for one in shown)
        else "",
        "Secondary contrasts stand beside the verdict and are not corrected for their number."
        if not all(one.comparison.confirmatory for one in shown)
        else "",
    ]


def ends(reference: str, arm: str) -> tuple[str, str]:
    """What the two directions of an axis of differences favour.

    >>> ends("lora", "olora")
    ('← favours lora', 'favours olora →')
    """
    return f"← favours {_short(reference)}", f"favours {_short(arm)} →"


def ends_of(shown: Sequence[Outcome]) -> tuple[str, str]:
    """The directions of an axis that all outcomes share: names where they agree."""
    names = {(one.comparison.reference, one.comparison.arm) for one in shown}
    return ends(*names.pop()) if len(names) == 1 else ends("reference", "arm")


def grouped(shown: Iterable[Outcome]) -> list[tuple[str, list[Outcome]]]:
    """Outcomes under `GROUPS`, what carries the verdict first, then by kind and as they come; no empty group."""
    ordered = sorted(shown, key=lambda one: one.comparison.kind != "primary")
    dealt = [(name, [one for one in ordered if one.comparison.confirmatory == carries]) for name, carries in GROUPS.items()]
    return [(name, group) for name, group in dealt if group]


def _short(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"
