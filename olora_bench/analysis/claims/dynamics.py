"""Claims about how training goes and what it makes of the adapter."""

from __future__ import annotations

import pandas as pd
from scipy.stats import fisher_exact

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import (
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    UNRESOLVED,
    Asked,
    Direction,
    Finding,
    Verdict,
    runs_of,
    tally,
)
from olora_bench.analysis.paired import LEVEL, holm
from olora_bench.analysis.runs import with_role


def more_stable(asked: Asked) -> Finding:
    """Diverged runs over all learning rates that both arms tried, and loss spikes of the paired runs.

    Where no run diverged no rate was high enough to tell, and spikes describe: a spike of a stable run is mostly a hard batch. Shorter
    schedules are left out: a spike stands above the 20 steps before it, which they hardly have.
    """
    rates = asked.whole["rates"]
    rates = rates[rates["longest"].astype(bool) & (rates["n_runs"] > 0)]
    sides = [rates[rates["arm"] == asked.claim.reference], rates[rates["arm"].isin(asked.arms)]]
    tried = [pd.MultiIndex.from_frame(side[["cell", "lr"]]) for side in sides]
    both = tried[0].intersection(tried[1])
    kept = [side[keys.isin(both)] for side, keys in zip(sides, tried, strict=True)]
    reference, arm = (_divergences(*one) for one in zip((asked.claim.reference, asked.claim.arm), kept, strict=True))
    measured = asked.measured("spikes")
    counts = tuple(float(measured[f"value_{side}"].mean()) for side in ("reference", "arm"))
    spikes = (counts[0], counts[1]) if len(measured) else None
    rates_tried = len(set(both.get_level_values("lr")))
    found = evidence.Stability((reference, arm), rates_tried, spikes, _over_cells(measured), len(measured))
    runs = tuple(sorted({*runs_of(pd.concat(kept)), *runs_of(measured)}))
    if not found.at_the_edge:
        return Finding(NOT_TESTED, found, runs)
    good, bad = _shown(measured, "lower")
    if fisher_exact([[side.diverged, side.runs - side.diverged] for side in (arm, reference)]).pvalue <= LEVEL:
        fewer = arm.diverged * reference.runs < reference.diverged * arm.runs
        good, bad = good + fewer, bad + (not fewer)
    return Finding(tally(good, bad, 1), found, runs)


def _divergences(arm: str, rates: pd.DataFrame) -> evidence.Divergences:
    died = sorted(set(rates.loc[rates["diverged"] > 0, "lr"]))
    return evidence.Divergences(arm, int(rates["diverged"].sum()), int(rates["n_runs"].sum()), tuple(died))


def _over_cells(measures: pd.DataFrame) -> evidence.Estimated:
    """The mean difference over cells; one cell's has an interval."""
    low, high = (float(measures[end].iloc[0]) if len(measures) == 1 else float("nan") for end in ("low", "high"))
    return evidence.Estimated(float(measures["difference"].mean()), low, high)


def _shown(measures: pd.DataFrame, better: Direction) -> tuple[int, int]:
    """Cells that are better, and that are worse, after Holm over the cells."""
    return _counted(_sure(measures), better)


def _sure(measures: pd.DataFrame) -> pd.DataFrame:
    return measures[holm(measures["p"].to_numpy(dtype=float)) <= LEVEL]


def _counted(sure: pd.DataFrame, better: Direction) -> tuple[int, int]:
    worse = "higher" if better == "lower" else "lower"
    return int((sure["verdict"] == better).sum()), int((sure["verdict"] == worse).sum())


def measure(asked: Asked) -> Finding:
    """Measures of the paired runs, each of which must go in its better direction.

    Where the claim is about several arms (ratios), one of them is enough; Holm's family is then all arms and cells of a measure. A measure
    that no run of an arm has leaves it untested, unless another one refutes it.
    """
    tables = {name: asked.measured(name) for name in asked.claim.measures}
    used = [table for table in tables.values() if len(table)]
    if not used:
        return Finding(NOT_TESTED, evidence.Unmeasured(tuple(tables)))
    sure = {name: _sure(table) for name, table in tables.items()}
    verdicts = {_all_of([_of_arm(arm, tables[n], sure[n], better) for n, better in asked.claim.measures.items()]) for arm in asked.arms}
    found = evidence.Measured(
        tuple(evidence.ArmMeasures(arm, tuple(_mean(name, arm, table) for name, table in tables.items())) for arm in asked.arms),
        max(map(len, used)),
    )
    known = (SUPPORTED, UNRESOLVED, NOT_TESTED, NOT_SUPPORTED)
    verdict = next(one for one in known if one in verdicts)
    return Finding(verdict, found, runs_of(pd.concat(used)))


def _of_arm(arm: str, table: pd.DataFrame, sure: pd.DataFrame, better: Direction) -> Verdict:
    good, bad = _counted(sure[sure["arm"] == arm], better)
    return tally(good, bad, int((table["arm"] == arm).sum()) - good - bad)


def _all_of(verdicts: list[Verdict]) -> Verdict:
    if all(verdict == SUPPORTED for verdict in verdicts):
        return SUPPORTED
    return next(one for one in (NOT_SUPPORTED, NOT_TESTED, UNRESOLVED) if one in verdicts)


def _mean(name: str, arm: str, table: pd.DataFrame) -> evidence.MeanDifference:
    cells = table[table["arm"] == arm]
    if cells.empty:
        return evidence.MeanDifference(name, None, "")
    return evidence.MeanDifference(name, _over_cells(cells), str(cells["unit"].iloc[0]))


def well_conditioned(asked: Asked) -> Finding:
    """The condition number of B, whose columns span the subspace that the update stays in, after training: below the reference's.

    A's stands beside it, and B's at the start (of a B that starts at 0 there is none) with the way it went since: an orthonormal B that
    hardly moves is well conditioned by construction, whatever training does.
    """
    b, a = (asked.measured(f"log10_{factor}_condition") for factor in "ba")
    if b.empty:
        return Finding(NOT_TESTED, evidence.Lacking("adapters"))
    good, bad = _shown(b, "lower")
    start, moved = (_anatomy(asked, *fact) for fact in (("start", "b_condition"), ("travelled", "b_relative")))
    logs = _over_cells(b)
    times = evidence.Estimated(*(float(10**log) for log in (logs.mean, logs.low, logs.high)))
    found = evidence.Conditioning(asked.claim.reference, _conditions(b), times, start, moved, _conditions(a) if len(a) else None, len(b))
    return Finding(tally(good, bad, len(b) - good - bad), found, runs_of(b))


def _anatomy(asked: Asked, stage: str, fact: str) -> float | None:
    """The arm's own mean in its finished runs of the claim's role; None where no run measured it."""
    runs = with_role(asked.frames.runs, asked.role)
    own = runs[runs["arm"].isin(asked.arms) & runs["longest"] & (runs["state"] == "done")]
    values = own.get(f"init.anatomy.{stage}.{fact}.mean", pd.Series(dtype=float)).dropna()
    return float(values.mean()) if len(values) else None


def _conditions(logs: pd.DataFrame) -> evidence.Conditions:
    return evidence.Conditions(*(float(10 ** logs[column].mean()) for column in ("value_arm", "value_reference")))
