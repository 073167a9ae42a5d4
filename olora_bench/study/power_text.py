"""What a plan says of power, ends and what pays, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from olora_bench.study.labelled import Labelled

if TYPE_CHECKING:  # brings scipy
    from olora_bench.study.power import End, Option, Power

NEVER = "no difference is found four times in five, however large"
BOTTLENECK = 0.75
"""From this share of the last look's information on, later looks bring little: what is left of the error is the items'."""


def hours_text(seconds: float) -> str:
    """A time to plan with.

    >>> hours_text(90), hours_text(5400), hours_text(720000)
    ('1.5 minutes', '1.5 hours', '200 hours')
    """
    hours = seconds / 3600
    return f"{hours:,.0f} hours" if hours >= 100 else f"{hours:.1f} hours" if hours >= 1 else f"{seconds / 60:.1f} minutes"


def power_text(one: Power) -> list[Labelled]:
    """Power, where its variances are from, how the study ends, and what would find more."""
    return [
        Labelled("power", (_power(one),)),
        Labelled("variances", (one.variances.source,)),
        Labelled("expected", tuple(_end(one, end) for end in one.ends)),
        Labelled("to find more", tuple(_pays(one))),
    ]


def _power(one: Power) -> str:
    design, said, unit = one.design, one.said, one.unit
    at = "" if design.margin is None else f"{100 * said.power:.0f}% at the margin of {design.margin:g} {unit}; "
    extent = f" ({_extent(said.found_low, said.found_high)})" if one.variances.known else ""
    family = "one contrast" if design.contrasts == 1 else f"Holm over {design.contrasts} contrasts"
    found = NEVER if said.found == math.inf else f"four times in five from {said.found:.2g} {unit} on"
    return f"{at}{found}{extent}; {family}"


def _extent(low: float, high: float) -> str:
    """Both ends of what is found, as well as the variances are known.

    >>> _extent(0.01, 0.03), _extent(0.01, math.inf), _extent(math.inf, math.inf)
    ('0.01 to 0.03', 'from 0.01 on at best', 'nor at best')
    """
    if math.isfinite(high):
        return f"{low:.2g} to {high:.2g}"
    return f"from {low:.2g} on at best" if math.isfinite(low) else "nor at best"


def _end(one: Power, end: End) -> str:
    at = end.at
    shown = at.better + at.worse
    parts = [(shown, "called"), (at.equivalent, "equivalent"), (at.undecided, "unresolved")]
    how = ", ".join(f"{100 * share:.0f}% {name}" for share, name in parts if share >= 0.005)
    what = "no difference" if at.difference == 0 else f"{at.difference:.2g} {one.unit}"
    return f"at {what}: {at.seeds:.1f} seeds a model, {end.runs:.0f} runs, {hours_text(end.seconds)} ({how})"


def _pays(one: Power) -> list[str]:
    if not one.options:
        return []
    lines: list[str] = []
    if len(one.design.plan) > 1 and one.limit is not None and one.unit == "pp" and one.share >= BOTTLENECK:
        looks, share = one.design.plan, f"{100 * one.share:.0f}%"
        information = f"look {looks[one.look]} has {share} of look {looks[-1]}'s information"
        lines.append(f"items are the bottleneck: at {one.limit} items a benchmark {information}")
    best = cheapest(one)
    return [*lines, *(_option(one, option, cheapest=option is best) for option in one.options)]


def cheapest(one: Power) -> Option | None:
    """Of what finds the margin four times in five, the one that takes the least time; None where nothing does."""
    enough = [option for option in one.options if one.design.margin is not None and option.found <= one.design.margin]
    return min(enough, key=lambda option: option.at_none.seconds, default=None)


def _option(one: Power, option: Option, *, cheapest: bool) -> str:
    if option.plan != one.design.plan:
        what = f"up to {option.plan[-1]} seeds, trained"
    elif option.limit != one.limit:
        what = f"suite.limit={'null' if option.limit is None else option.limit}, scored and not trained again"
    else:
        what = "as it is"
    time = f"{option.at_none.at.seeds:.1f} seeds and {hours_text(option.at_none.seconds)} at no difference"
    found = NEVER if option.found == math.inf else f"from {option.found:.2g} {one.unit} on"
    return f"{what}: {found}; {time}" + (" (cheapest)" if cheapest else "")
