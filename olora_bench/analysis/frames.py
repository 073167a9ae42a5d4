"""A study as tidy frames: what tables, figures and claims are made of. `analysis.load` fills them from records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.answers import Answers
from olora_bench.analysis.examples import Examples, no_examples
from olora_bench.analysis.sources import Sources, no_sources
from olora_bench.store.manifest import Contrast, Margin, TuningRule
from olora_bench.store.record import Json


@dataclass(frozen=True)
class StudyFrames:
    """A study as its manifest lists it and its records fill it.

    Attributes:
        study, title, protocol: of the study file; `protocol` is a key of `JUDGED_ROLE`.
        contrasts: as declared.
        tuning: the search's rule, or None.
        runs: one row a run of the manifest, in its order, whether or not it has a record. `cell` (what compared runs share, suite
            included), `family` (the same but for the length of training, suite left out), `length` (its optimiser steps, done or planned),
            `longest` (no cell of the family trains longer), model, arm, init, rank, alpha, lr, lr_ratio, seed, `setting`
            (in words, what tells cells of one model and rank apart; empty where nothing does), stage, `roles` (space-separated: shared,
            tuned, tuning), `state` (done, running, failed, diverged, missing, unreadable) with `reason`, `eval_state` (done, failed,
            missing, unreadable, none: no suite) with `eval_reason`; from the record its fields (bytes, counts, shares; `steps` done),
            `metrics.<name>` (losses in nats per supervised token, log-probabilities in nats), `timings_s.<phase>` (seconds),
            `init.<fact>` (nested ones with dots: `init.anatomy.end.a_condition.mean`) and `generation.<metric>` (bleu in [0, 100], rouge in
            [0, 1]) where numeric, and the provenance columns that a comparison should not mix. Unknown numbers are NaN.
        scores: one row a (evaluation, benchmark, metric): train_id (None for an untouched base), base (the model's name, else None),
            eval_id, benchmark, metric, primary, value and stderr in [0, 1], items, chance in [0, 1], gold_logprob (nats), truncated, flips
            (share of `flip_items` items whose choice differs from fp32's; NaN where not measured), warnings (separated by " | ").
        curves: one row a (run, step): train_id, then the columns of `curve.parquet` (losses in nats, NaN where not read; wall_s is
            seconds of training, tokens cumulative).
        searches: one row a (cell, arm, lr) of a tuned study's searches: cell, model, rank, arm, lr, stage, loss (the criterion as a loss,
            mean over tuning seeds; NaN where diverged or not done), diverged, runs (ids), best, edge, chosen.
        problems: sentences on what could not be read, contradicts itself, or is not as declared.
        answers: how the items of an evaluation were answered.
        base_generation: one row an untouched base with answers: base, eval_id, and the generation metrics.
        margin: the differences that matter to the study, as it declares them.
        overrides: the command line's, which made other runs than the study file declares.
        damaged: what lies there and is not what was written, curves, adapters and bases, each named.
        examples: the final held-out loss of a run by example.
        settled: whether the study needs no more runs than these, whatever they come to.
        sources: which items share a passage or a source.
        looks: seeds a model, from `first_seed` on, at which contrasts may be decided; empty where all seeds are judged at once.
        provenance: what the readable record of a run says of where it was made, by train_id.
    """

    study: str
    title: str
    protocol: str
    contrasts: tuple[Contrast, ...]
    tuning: TuningRule | None
    runs: pd.DataFrame
    scores: pd.DataFrame
    curves: pd.DataFrame
    searches: pd.DataFrame
    problems: list[str]
    answers: Answers
    base_generation: pd.DataFrame = field(default_factory=pd.DataFrame)
    margin: Margin = field(default_factory=Margin)
    overrides: tuple[str, ...] = ()
    damaged: list[str] = field(default_factory=list)
    examples: Examples = no_examples
    settled: bool = True
    sources: Sources = no_sources
    looks: tuple[int, ...] = ()
    first_seed: int = 0
    provenance: Mapping[str, Json] = field(default_factory=dict)


JUDGED_ROLE = {"tuned": "tuned", "shared_lr": "shared", "as_given": "given"}
"""Protocol -> the role whose comparisons carry the verdicts. `given`: imported runs, each arm at the learning rate it came with."""
UNSCORED = "unscored"


def training_cell(cell: str) -> str:
    """The id of what a cell's runs share in training, as searches name it: a `cell` of the frames without what is asked of its runs."""
    return cell.split("-")[0]


def scored_cell(cell: str, base_eval_id: str | None) -> str:
    """A `cell` of the frames: runs are compared that share their training and what is asked of them."""
    return f"{cell}-{base_eval_id or UNSCORED}"


def curves_by_run(curves: pd.DataFrame) -> Iterator[tuple[str, dict[str, np.ndarray[Any, Any]]]]:
    """Each run's curve, whose rows lie together: its train_id, and `(steps,)` numbers a column; a group would be a copy."""
    columns = {str(name): curves[name].to_numpy() for name in curves}
    ids = columns.pop("train_id")
    for start, end in pairwise([0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)] if len(ids) else []):
        yield str(ids[start]), {name: values[start:end] for name, values in columns.items()}


Row = dict[str, Any]
"""A row of a frame, or what names a group of them: column -> value, of whatever type pandas gives."""


def groups_of(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[Row, pd.DataFrame]]:
    """Groups in the frame's order, each with its key by name; null is a key too."""
    if frame.empty:
        return []
    groups = frame.groupby(list(names), sort=False, dropna=False)
    return [(dict(zip(names, key, strict=True)), group) for key, group in groups if isinstance(key, tuple)]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame as dicts."""
    names = [str(name) for name in frame]
    return [dict(zip(names, row, strict=True)) for row in zip(*(_native(frame[name]) for name in frame), strict=True)]


def _native(column: pd.Series[Any]) -> list[Any]:
    """A column's values as Python's own, as `DataFrame.to_dict` gives them."""
    values = column.tolist()
    return [value.item() if isinstance(value, np.generic) else value for value in values] if column.dtype == object else values


def where(row: Mapping[str, object] | pd.Series[Any]) -> str:
    """A cell in words: model, rank, and what else tells it from others.

    >>> where({"model": "syn_a", "rank": 8, "setting": "alpha 4"})
    'syn_a, rank 8, alpha 4'
    """
    rank = f"rank {row['rank']}" if row["rank"] else ""  # 0: of imported runs it may not be known, or not be one
    return ", ".join(part for part in (str(row["model"]), rank, str(row["setting"] or "")) if part)
