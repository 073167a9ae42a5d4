"""Runs that others made, as the frames that a study is analysed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from olora_bench.analysis.answers import Answered
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.given import Matched, Run, Together
from olora_bench.analysis.load import SCORE_COLUMNS, searches_frame
from olora_bench.analysis.run_rows import RunRow, run_frame
from olora_bench.foreign.record import identity
from olora_bench.store.manifest import Contrast, Margin, PlannedRun

Who = tuple[str | None, str | None, str]
UNNAMED = "model"
"""The model of runs whose base is not known."""


@dataclass(frozen=True)
class Given:
    """A comparison to be made of shared runs: what a study file declares of its own.

    Attributes:
        name, title: of the study.
        protocol: a key of `JUDGED_ROLE`, never `tuned`.
        contrasts: arms as `runs` names them.
        margin: the differences that matter.
        problems: sentences on what was left out, contradicts itself, or is not as declared.
    """

    name: str
    title: str
    protocol: str
    contrasts: tuple[Contrast, ...]
    margin: Margin = field(default_factory=Margin)
    problems: tuple[str, ...] = ()


def plain_row(run: Run) -> RunRow:
    """A run of which nothing but its arm and seed is known."""
    planned = PlannedRun(
        train_id=identity(*run), eval_id=identity("eval", *run), base_eval_id=identity("base"), cell=UNNAMED, model=UNNAMED, arm=run.arm,
        rank=0, lr=0.0, seed=run.seed, stage="given",
    )  # fmt: skip
    return RunRow(planned, state="done", eval_state="done", measured={"lr": float("nan")})


def study_frames(found: Matched, rows: Mapping[Run, RunRow], given: Given, curves: pd.DataFrame | None = None) -> StudyFrames:
    """The frames of a study whose runs were made and scored elsewhere.

    Args:
        found: their answers.
        rows: the runs, those without answers too.
        curves: as `StudyFrames.curves`; None is none.
    """
    ids = {run: (str(row.run.train_id), None, str(row.run.eval_id)) for run, row in rows.items()}
    answered = {ids[run]: {name: _answered(one, run) for name, one in found.benchmarks.items() if run in one.answers} for run in found.runs}
    sources = {name: one.sources for name, one in found.benchmarks.items() if one.sources is not None}
    told = sources if len(sources) == len(found.benchmarks) and sources else None
    known: dict[Who, dict[str, Answered]] = {who: own for who, own in answered.items() if own}
    scores = [_score(name, one, run, ids[run]) for name, one in found.benchmarks.items() for run in one.right]
    return StudyFrames(
        study=given.name,
        title=given.title,
        protocol=given.protocol,
        contrasts=given.contrasts,
        tuning=None,
        runs=run_frame(list(rows.values())),
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)).astype(SCORE_COLUMNS),
        curves=pd.DataFrame({"train_id": pd.Series([], dtype=object)}) if curves is None else curves,
        searches=searches_frame(()),
        problems=list(given.problems),
        answers=lambda train_id, base, eval_id: known.get((train_id, base, eval_id)),
        margin=given.margin,
        sources=lambda train_id, eval_id: told,
    )


def _answered(one: Together, run: Run) -> Answered:
    assert one.ids is not None
    right = np.packbits(one.answers[run])
    return Answered(one.ids, {}, {}, {}, right, right)


def _score(name: str, one: Together, run: Run, who: Who) -> dict[str, object]:
    unknown = dict.fromkeys(("stderr", "chance", "gold_logprob", "flips"), np.nan)
    row: dict[str, object] = {"train_id": who[0], "base": None, "eval_id": who[2], "benchmark": name, "metric": one.metric or "score"}
    row |= {"primary": True, "value": one.right[run] / one.count, "items": one.count, "truncated": 0, "flip_items": 0, "warnings": ""}
    return row | unknown


def two_arms(names: Sequence[str], margin: float | None) -> Given:
    """The first of two sides against the second."""
    contrast = Contrast(arm=names[0], reference=names[1], kind="primary")
    return Given(f"{names[0]} against {names[1]}", "", "as_given", (contrast,), Margin(score=margin))
