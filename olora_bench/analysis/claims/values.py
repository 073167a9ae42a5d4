"""What a claim is, what it is asked with, and what a study says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.comparison import Comparison, comparisons
from olora_bench.analysis.frames import JUDGED_ROLE, StudyFrames

Verdict = Literal["supported", "not supported", "unresolved", "not tested here"]
Direction = Literal["lower", "higher"]

SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
UNRESOLVED: Verdict = "unresolved"
NOT_TESTED: Verdict = "not tested here"


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, in short, with the measurement that decides it and the contrast that it is about.

    Attributes:
        claim: its name, that of its YAML file.
        paper, sentence: which paper says what.
        measurement: a key of `MEASUREMENTS`.
        arm, reference: the contrast; `arm` is an arm, or an init that several arms have.
        measures: of `measure` alone: measures of the paired runs, each with its better direction.
        benchmarks: of `most_gain_on` alone.
        factor: of `faster` alone: how many times as fast the paper says the arm is; None where it gives no number.
    """

    claim: str
    paper: str
    sentence: str
    measurement: str
    arm: str
    reference: str
    measures: Mapping[str, Direction] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = ()
    factor: float | None = None


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim: the verdict, what it rests on, and the train_ids behind it."""

    verdict: Verdict
    evidence: evidence.Evidence
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A claim with a study's finding. `protocol` is the study's, empty where it does not compare the claim's arms."""

    claim: Claim
    protocol: str
    finding: Finding


@dataclass(frozen=True)
class Asked:
    """What a measurement works with.

    Attributes:
        claim: the claim.
        frames: the study's records.
        role: `tuned` or `shared`, by the study's protocol.
        arms: those that the claim is about: the arm it names, or else every arm of the init it names (`olora_plus_x0.25`,
            `olora_plus_x4`).
        comparisons: the claim's.
        tables: the study's tables about comparisons, rows of the claim's comparisons and of no shorter schedule.
        whole: the study's tables as they are.
        rng: for sign flips.
    """

    claim: Claim
    frames: StudyFrames
    role: str
    arms: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    tables: Mapping[str, pd.DataFrame]
    whole: Mapping[str, pd.DataFrame]
    rng: np.random.Generator

    @classmethod
    def of(cls, claim: Claim, frames: StudyFrames, tables: Mapping[str, pd.DataFrame], rng: np.random.Generator) -> Asked:
        """The part of a study's tables that a claim is about."""
        role = JUDGED_ROLE[frames.protocol]
        arms = _arms(claim, frames)
        own = tuple(c for c in comparisons(tables["pairs"]) if c.arm in arms and c.reference == claim.reference and c.role == role)
        about = {name: _about(own, table) for name, table in tables.items() if "contrast" in table}
        return cls(claim, frames, role, arms, own, about, tables, rng)

    def measured(self, name: str) -> pd.DataFrame:
        """The rows of a measure of the paired runs."""
        measures = self.tables["measures"]
        return measures[measures["measure"] == name]


def _arms(claim: Claim, frames: StudyFrames) -> tuple[str, ...]:
    against = dict.fromkeys(c.arm for c in frames.contrasts if c.reference == claim.reference)
    if claim.arm in against:
        return (claim.arm,)
    inits = dict(zip(frames.runs["arm"], frames.runs["init"], strict=True))
    return tuple(arm for arm in against if inits.get(arm) == claim.arm)


def _about(own: Sequence[Comparison], table: pd.DataFrame) -> pd.DataFrame:
    rows = pd.concat([table.iloc[:0], *(comparison.rows_in(table) for comparison in own)]).sort_index(kind="stable")
    return rows[rows["longest"].astype(bool)] if "longest" in rows else rows


Measurement = Callable[[Asked], Finding]


def runs_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The train_ids that a table's column `runs` names, each once, in order."""
    return tuple(sorted({run for runs in table["runs"] for run in str(runs).split()}))


def tally(good: int, bad: int, unresolved: int) -> Verdict:
    """A claim over several cells: it holds where any cell shows it and none the contrary."""
    if good + bad + unresolved == 0:
        return NOT_TESTED
    return SUPPORTED if good and not bad else NOT_SUPPORTED if bad and not good else UNRESOLVED
