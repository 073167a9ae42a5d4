"""Every comparison of a report's page in one forest: a table whose marks are SVG that stretches with the page and needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from olora_bench.analysis.outcome import Outcome
from olora_bench.report.page_svg import nice_ticks
from olora_bench.words.comparisons import Measure, ends, ends_of, filled, found_words, measures, named, verdict_word
from olora_bench.words.numbers import signed
from olora_bench.words.verdicts import mark

Groups = Sequence[tuple[str, Sequence[Outcome]]]


def forest(groups: Groups) -> str:
    """A row a comparison, a column a measure, right of 0 better in both; empty where no difference is known.

    Args:
        groups: as `words.comparisons.grouped` returns them.
    """
    rows = [one for _, part in groups for one in part]
    shown = measures(rows)
    if not shown:
        return ""
    heads = "".join(f'<th scope="col" class="measure">{_head(measure, ends_of(rows))}</th>' for measure in shown)
    body = "".join(_group(name, part, rows, shown) for name, part in groups)
    feet = "".join(f'<td class="measure"><div class="pair">{_axis(measure, measure.reach(rows))}</div></td>' for measure in shown)
    return (
        f'<section class="card forest-card" aria-labelledby="forest-title"><h3 id="forest-title">Every comparison</h3>'
        f'<p class="quiet">{filled(rows)}</p><table class="forest{" alone" * (len(shown) == 1)}">'
        f'<thead><tr><th scope="col" class="name">comparison</th>{heads}<th scope="col" class="says">verdict</th></tr></thead>{body}'
        f'<tfoot aria-hidden="true"><tr><td class="name"></td>{feet}<td class="says"></td></tr></tfoot></table></section>'
    )


def twins(outcome: Outcome) -> str:
    """Score and held-out loss of one comparison with equal weight: difference, interval, and whom it favours."""
    tiles = "".join(_tile(measure, outcome) for measure in measures([outcome]))
    return f'<div class="twins">{tiles}</div>' if tiles else ""


def _tile(measure: Measure, outcome: Outcome) -> str:
    reach = measure.reach([outcome])
    return (
        f'<div><p class="eyebrow">{escape(measure.heading)} ({escape(measure.better)})</p>'
        f'<p class="big">{measure.text(measure.of(outcome).value)} <span>{escape(measure.unit)}</span></p>'
        f'<p class="quiet">{escape(_spanned(measure, outcome))} <b>{escape(measure.favours(outcome))}</b></p>'
        f"{_ways(ends(outcome.comparison.reference, outcome.comparison.arm))}{_strip(measure, outcome, reach)}{_axis(measure, reach)}</div>"
    )


def _head(measure: Measure, sides: tuple[str, str]) -> str:
    unit = f'<span class="quiet">difference, {escape(measure.unit)}; {escape(measure.better)}</span>'
    return f'{escape(measure.heading)} {unit}<div class="pair">{_ways(sides)}</div>'


def _ways(sides: tuple[str, str]) -> str:
    left, right = map(escape, sides)
    return f'<span class="ways quiet"><span>{left}</span><span>{right}</span></span>'


def _group(name: str, part: Sequence[Outcome], rows: Sequence[Outcome], shown: Sequence[Measure]) -> str:
    head = f'<tr class="group"><th scope="rowgroup" colspan="{len(shown) + 2}">{escape(name)}</th></tr>'
    return f"<tbody>{head}{''.join(_row(one, rows, shown) for one in part)}</tbody>"


def _row(outcome: Outcome, rows: Sequence[Outcome], shown: Sequence[Measure]) -> str:
    pairs = (f"{_strip(one, outcome, one.reach(rows))}<span>{_text(one, outcome)}</span>" for one in shown)
    cells = "".join(f'<td class="measure"><div class="pair">{pair}</div></td>' for pair in pairs)
    verdict = f'<span class="pill {mark(outcome.verdict)}">{escape(verdict_word(outcome))}</span>'
    least = "" if outcome.verdict.decided else f' <span class="quiet">{escape(found_words(outcome))}</span>'
    name = escape(named(outcome.comparison)).replace(", lr ", ", lr&nbsp;")  # on one line with its number
    return f'<tr><th scope="row" class="name">{name}</th>{cells}<td class="says">{verdict}{least}</td></tr>'


def _text(measure: Measure, outcome: Outcome) -> str:
    value = measure.text(measure.of(outcome).value)
    return f'<b>{value}</b> <span class="quiet">{escape(measure.interval(outcome))}</span>'


def _spanned(measure: Measure, outcome: Outcome) -> str:
    known = not math.isnan(measure.of(outcome).low)
    return ("95% interval " if known else "") + measure.interval(outcome) + ("," if known else "")


def _strip(measure: Measure, outcome: Outcome, reach: float) -> str:
    """The marks of one row, in shares of the width, so that they stretch without a script; the figures beside them say the same."""
    found = measure.of(outcome)
    parts = ['<line class="zero" x1="50%" x2="50%" y1="0" y2="100%"/>']
    if not math.isnan(found.low) and not math.isnan(found.high):
        low, high = (max(-reach, min(reach, end)) for end in (found.low, found.high))  # an open end goes to the edge
        parts.append(f'<line class="interval" x1="{_at(low, measure, reach)}" x2="{_at(high, measure, reach)}" y1="50%" y2="50%"/>')
        parts += [f'<text class="tick" x="{_at(end, measure, reach)}" y="50%" {_anchor(end, measure)}</text>'
                  for end, known in ((low, found.low), (high, found.high)) if math.isinf(known)]  # fmt: skip
    if math.isfinite(found.value):
        kind = "point" if found.resolved else "point open"
        parts.append(f'<circle class="{kind}" cx="{_at(found.value, measure, reach)}" cy="50%" r="5.5"/>')
    return f'<svg class="strip row" width="100%" height="26" aria-hidden="true">{"".join(parts)}</svg>'


def _anchor(end: float, measure: Measure) -> str:
    """An arrowhead at an edge of the strip."""
    right = measure.sign * end > 0
    return f'dy="0.35em" text-anchor="{"end" if right else "start"}">{"▶" if right else "◀"}'


def _axis(measure: Measure, reach: float) -> str:
    parts = ['<line class="axis" x1="0" x2="100%" y1="1" y2="1"/>']
    for tick in nice_ticks(-0.9 * reach, 0.9 * reach, 4):
        place, text = _at(tick, measure, reach), signed(tick)
        parts.append(f'<line class="axis" x1="{place}" x2="{place}" y1="1" y2="5"/>')
        parts.append(f'<text class="tick" x="{place}" y="18" text-anchor="middle">{text}</text>')
    return f'<svg class="strip row" width="100%" height="22" aria-hidden="true">{"".join(parts)}</svg>'


def _at(value: float, measure: Measure, reach: float) -> str:
    return f"{50 + 50 * measure.sign * value / reach:.2f}%"
