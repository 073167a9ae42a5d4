"""Claims of papers, and the measurement that decides each on the runs at hand.

A measurement is a function from what it is asked with (`Asked`) to a `Finding`; `MEASUREMENTS` names them for the claims' YAML files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.dynamics import measure, more_stable, well_conditioned
from olora_bench.analysis.claims.performance import every_model, most_gain_on, win_count
from olora_bench.analysis.claims.ratios import ratios_both_sides, trade_off
from olora_bench.analysis.claims.resources import init_alone, negligible_init, same_size_and_memory
from olora_bench.analysis.claims.speed import faster
from olora_bench.analysis.claims.values import (
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    UNRESOLVED,
    Asked,
    Claim,
    Direction,
    Finding,
    Judged,
    Measurement,
)
from olora_bench.analysis.frames import StudyFrames

__all__ = ["MEASUREMENTS", "NOT_SUPPORTED", "NOT_TESTED", "SUPPORTED", "UNRESOLVED", "Claim", "Direction", "Finding", "Judged", "judge"]

MEASUREMENTS: Mapping[str, Measurement] = {
    "faster": faster,
    "win_count": win_count,
    "every_model": every_model,
    "same_size_and_memory": same_size_and_memory,
    "negligible_init": negligible_init,
    "more_stable": more_stable,
    "measure": measure,
    "most_gain_on": most_gain_on,
    "init_alone": init_alone,
    "ratios_both_sides": ratios_both_sides,
    "well_conditioned": well_conditioned,
    "trade_off": trade_off,
}


def judge(claims: Iterable[Claim], frames: StudyFrames, tables: Mapping[str, pd.DataFrame], rng: np.random.Generator) -> list[Judged]:
    """What a study says of each claim. A claim about arms that the study does not compare is not tested here.

    Args:
        claims: in the order in which they are answered.
        frames, tables: as `load_study` and `analyse` return them.
        rng: for sign flips of more blocks than can be enumerated.
    """
    judged = []
    for claim in claims:
        asked = Asked.of(claim, frames, tables, rng)
        shorter = claim.measurement == "faster" and len(asked.tables["equivalent_steps"])  # needs no pair of the longest schedule
        if asked.tables["pairs"].empty and not shorter:
            shown = evidence.Lacking("no longest") if asked.comparisons else evidence.NotCompared(claim.arm, claim.reference)
            judged.append(Judged(claim, "", Finding(NOT_TESTED, shown)))
        else:
            judged.append(Judged(claim, frames.protocol, MEASUREMENTS[claim.measurement](asked)))
    return judged
