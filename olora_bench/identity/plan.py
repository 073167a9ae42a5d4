"""The ids of everything one experiment needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from olora_bench.config import Experiment
from olora_bench.identity.ids import base_eval_identity, digest, eval_identity, train_identity


@dataclass(frozen=True)
class Identified:
    """One experiment with its ids and the values they stand for. Eval ids are null for `suite=none`."""

    experiment: Experiment
    train: Mapping[str, JsonValue]
    train_id: str
    evaluation: Mapping[str, JsonValue] | None
    eval_id: str | None
    base_evaluation: Mapping[str, JsonValue] | None
    base_eval_id: str | None


def identify(experiment: Experiment, assets: Mapping[str, str]) -> Identified:
    """Name an experiment whose precision and assets are settled.

    Args:
        experiment: with `precision` resolved.
        assets: asset key -> identity.
    """
    train = train_identity(experiment, assets)
    train_id = digest(train)
    if not experiment.suite.benchmarks and experiment.suite.generation is None:
        return Identified(experiment, train, train_id, None, None, None, None)
    evaluation = eval_identity(train_id, experiment, assets)
    base = base_eval_identity(experiment, assets)
    return Identified(experiment, train, train_id, evaluation, digest(evaluation), base, digest(base))
