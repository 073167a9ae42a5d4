"""The cells of a comparison in words: what ran in each, what their seeds can tell, and what their tables and figures show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from olora_bench.analysis.cells import EXPLORATORY_BELOW, MIN_SEEDS_FOR_VERDICT, one_answer_pays
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.frames import where
from olora_bench.analysis.outcome import Outcome, Verdict
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.reasons import NothingFound, PairsDiverged, PairsMissing
from olora_bench.words.numbers import found_range, in_series, number, rate
from olora_bench.words.reasons import clauses, counted, holm, worded

ARROWS = {1: "↑", -1: "↓"}
LEGEND = "↑ better, ↓ worse, D a seed diverged (so unresolved), no mark: unresolved or no verdict. Every cell: tables/grid.md."
EXPLORATORY = f"* exploratory: {MIN_SEEDS_FOR_VERDICT} to {EXPLORATORY_BELOW - 1} seeds."


def marked(cell: Mapping[str, Any]) -> str:
    """A cell's difference with the mark of its verdict, as `LEGEND` says. `cell` is a row of the table `cells`."""
    return f"{number(cell['difference'], sign=True)} {'D' if cell['diverged'] else ARROWS.get(Verdict(cell['verdict']).side, ' ')}"


def reading(cell: Mapping[str, Any]) -> str:
    """A cell's verdict, starred where it is exploratory, and why there is none."""
    why = f": {clauses(cell['reasons'])}" if cell["verdict"] == Verdict.NONE or cell["diverged"] else ""
    return f"{cell['verdict']}{'*' if cell['exploratory'] else ''}{why}"


def ran(cells: pd.DataFrame, comparison: Comparison) -> str:
    """What stands behind the rows of one cell: model and rank, learning rates, seeds and gaps."""
    first, seeds = cells.iloc[0], cells["seeds"]
    most, least, planned, diverged = int(seeds.max()), int(seeds.min()), int(first["seeds_planned"]), int(first["diverged"])
    paired = f"{least} to {most} paired seeds" if least < most else counted(most, "paired seed")
    gaps = [f"{worded(PairsDiverged(diverged, planned))}: unresolved"] if diverged else []
    gaps += [worded(PairsMissing(planned - diverged - most, planned))] if planned - diverged - most else []
    return ", ".join([where(first), *_rates(first, comparison), paired, *gaps])


def _rates(cell: Mapping[str, Any] | pd.Series[Any], comparison: Comparison) -> list[str]:
    """At which rates the two sides of a cell ran; where blocks choose among finalists, at which they kept."""
    sides = ((comparison.reference, "reference"), (comparison.arm, "arm"))
    if isinstance(cell.get("kept_arm"), str):
        each = [kept(cell[f"kept_{side}"]) or f"around {rate(cell[f'cell_lr_{side}'])}" for _, side in sides]
        return [*(f"{name} at lr {rates}" for (name, _), rates in zip(sides, each, strict=True)), "as each block chose"]
    arm, reference = cell["cell_lr_arm"], cell["cell_lr_reference"]
    return [f"lr {rate(arm)}"] if arm == reference else [f"{name} at lr {rate(cell[f'cell_lr_{side}'])}" for name, side in sides]


def kept(rates: str) -> str:
    """The rates that blocks kept, each with how many did.

    >>> kept("3.16e-3 5.62e-3 3.16e-3"), kept("1e-3")
    ('3.16e-3 (2 blocks) and 5.62e-3 (1)', '1e-3 (1 block)')
    """
    counts = sorted(Counter(rates.split()).items(), key=lambda one: float(one[0]))
    said = [f"{lr} ({counted(count, 'block') if place == 0 else count})" for place, (lr, count) in enumerate(counts)]
    return in_series(said)


def limits(cells: pd.DataFrame, *, many: bool) -> str:
    """What the number of seeds allows to be said of cells of one comparison; `many`: they are not shown one by one."""
    seeds = int(cells["seeds"].max())
    unit = "Accuracy in percent, differences in percentage points (pp)."
    if not many and one_answer_pays(cells).any():
        unit += " `one answer`: what the same answer to every item scores at best, where that is no matter of luck."
    if seeds < MIN_SEEDS_FOR_VERDICT:
        return f"{_too_few(cells, seeds)} {unit}"
    star = f" {EXPLORATORY}" if cells["exploratory"].any() else ""
    over = int(cells["holm_over"].max())
    own = "outside the declared family and not corrected for their number"
    judged = f"Verdicts and `found from`: {holm(over, 'cell') if over else own}. All over new seeds and new items."
    return (
        f"Intervals: each cell's own 95%. {judged}{star} `found from`: the smallest true difference that this test "
        f"finds with 80% power, and what that may be, as well as the variances are known; a smaller one was not shown absent. {unit}"
    )


def found(cell: Mapping[str, Any]) -> str:
    """From where on a difference is found with 80% power, and what that may be."""
    return found_range(cell["found"], cell["found_low"], cell["found_high"])


def _too_few(cells: pd.DataFrame, seeds: int) -> str:
    least = cells["found"].min()
    items = f" From the items alone, no difference below {least:.1f} pp could be found (`items alone`: 80% power, 5% level)."
    blind = "How far a score moves when only the seed changes cannot be told from so few."
    told = f"{({1: 'One seed', 2: 'Two seeds'})[seeds]}: no verdict on a cell. {blind}{'' if pd.isna(least) else items}"
    never = any(isinstance(reason, NothingFound) for reasons in cells["reasons"] for reason in reasons)
    return told + (f" A dash there: {worded(NothingFound())}." if never else "")


def forest_caption(outcome: Outcome, cells: pd.DataFrame) -> list[str]:
    """What a forest of cells shows, in sentences; empty ones have nothing to say.

    Args:
        cells: the rows of the table `cells` that it draws.
    """
    comparison, reasons = outcome.comparison, clauses(outcome.own_reasons)
    over = int(cells["holm_over"].max())
    judge = holm(over, "cell") if over > 1 else f"each cell's own p (at most {LEVEL:g}), not corrected for their number,"
    return [
        f"{comparison.arm} minus {comparison.reference} in accuracy (primary metric), 95% interval over new seeds and new items; filled, "
        f"in the winner's colour, where {judge} gives a verdict, grey and open otherwise.",
        f"Fewer than {MIN_SEEDS_FOR_VERDICT} seeds, or no spread, give no interval." if cells["low"].isna().any() else "",
        f"{MIN_SEEDS_FOR_VERDICT} to {EXPLORATORY_BELOW - 1} seeds: exploratory." if cells["exploratory"].astype(bool).any() else "",
        "×n: n pairs have a diverged run, so the cell is unresolved." if cells["diverged"].gt(0).any() else "",
        f"Diamond: mean over benchmarks and {counted(outcome.score.blocks, 'block')} (model, seed), interval from six blocks on"
        f"{', at looks the repeated one' if outcome.by_looks else ''}; verdict: "
        f"{outcome.verdict}{f' ({reasons})' if reasons else ''}.",
    ]
