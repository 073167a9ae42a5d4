"""A comparison in a forest: its two measures with their directions, its verdict in a word, and the group that it stands in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olora_bench.analysis.outcome import Verdict
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.words.numbers import interval, number, rate

GROUPS = ("Primary: carries the verdict", "Beside the verdict: not corrected")
LONG_NAME = 20
FILLED = "Filled: resolved. Open: not resolved. Line: 95% interval."


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
        judged_by, prefix: how the verdicts frame names it, in the column `judged_by` and before `difference`, `low`, `high` and `blocks`.
        digits: decimals of a difference.
        sign: 1 where a greater value is better, -1 where a smaller one is; drawings turn the axis so that better is at the right.
        least: what an axis spans at least on either side of 0.
    """

    heading: str
    unit: str
    better: str
    judged_by: str
    prefix: str
    digits: int
    sign: int
    least: float

    def of(self, row: Mapping[str, Any]) -> Estimate:
        """This measure of a row of the verdicts frame. What carries the verdict is resolved as the verdict says, the other by its own
        interval."""
        value, low, high = (float(row[f"{self.prefix}{name}"]) for name in ("difference", "low", "high"))
        judged = row["judged_by"] == self.judged_by
        return Estimate(value, low, high, Verdict(row["verdict"]).decided if judged else low > 0 or high < 0)

    def text(self, value: float) -> str:
        """A difference as it is printed, with its sign and no unit."""
        return number(value, digits=self.digits, sign=True)

    def interval(self, row: Mapping[str, Any]) -> str:
        """The interval of a row, or why there is none; empty where the measure has no value."""
        found = self.of(row)
        if math.isnan(found.value):
            return ""
        if math.isnan(found.low):
            return f"No interval: {row[f'{self.prefix}blocks']} of at least {MIN_BLOCKS} blocks."
        return interval(found.low, found.high, digits=self.digits)

    def favours(self, row: Mapping[str, Any]) -> str:
        """Whom a row's difference favours, e.g. `favours olora`; empty where there is none."""
        gain = self.sign * self.of(row).value
        return f"favours {row['arm'] if gain > 0 else row['reference']}" if gain > 0 or gain < 0 else ""

    def reach(self, rows: Iterable[Mapping[str, Any]]) -> float:
        """How far an axis goes on either side of 0 to show every finite number of the rows."""
        found = [self.of(row) for row in rows]
        numbers = [abs(n) for one in found for n in (one.value, one.low, one.high) if math.isfinite(n)]
        return max([self.least, *(1.08 * n for n in numbers)])


SCORE = Measure("Score, mean over benchmarks", "pp", "higher is better", "score", "", 1, 1, 0.5)
LOSS = Measure("Held-out loss", "nats per token", "lower is better", "report_loss", "loss_", 3, -1, 0.005)


def measures(rows: Sequence[Mapping[str, Any]]) -> list[Measure]:
    """The measures that any of the rows has a value of."""
    return [measure for measure in (SCORE, LOSS) if any(not math.isnan(measure.of(row).value) for row in rows)]


def named(row: Mapping[str, Any]) -> str:
    """A comparison with its protocol, e.g. `olora vs lora, tuned` or `olora vs lora, lr 0.001`."""
    return f"{row['contrast']}, " + ("tuned" if math.isnan(row["lr_arm"]) else f"lr {rate(row['lr_arm'])}")


def verdict_word(row: Mapping[str, Any]) -> str:
    """The verdict on the arm, with what it is by.

    >>> verdict_word({"verdict": Verdict.BETTER, "judged_by": "score"}), verdict_word({"verdict": Verdict.NONE, "judged_by": "score"})
    ('better by score', 'no verdict')
    """
    tested = Verdict(row["verdict"]).decided or row["verdict"] == Verdict.UNRESOLVED
    return f"{row['verdict']} by {'loss' if row['judged_by'] == LOSS.judged_by else 'score'}" if tested else str(row["verdict"])


def ends(reference: str, arm: str) -> tuple[str, str]:
    """What the two directions of an axis of differences favour.

    >>> ends("lora", "olora")
    ('← favours lora', 'favours olora →')
    """
    return f"← favours {_short(reference)}", f"favours {_short(arm)} →"


def ends_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The directions of an axis that all rows share: names where they agree."""
    names = {(str(row["reference"]), str(row["arm"])) for row in rows}
    return ends(*names.pop()) if len(names) == 1 else ends("reference", "arm")


def grouped(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of the verdicts frame under `GROUPS`, what carries the verdict first, then by kind and as they come; no empty group."""
    ordered = sorted(rows, key=lambda row: row["kind"] != "primary")
    dealt = [
        (name, [row for row in ordered if bool(row["confirmatory"]) == first]) for name, first in zip(GROUPS, (True, False), strict=True)
    ]
    return [(name, mine) for name, mine in dealt if mine]


def _short(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"
