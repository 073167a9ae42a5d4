"""Scores of a model on benchmarks, by lm-eval's own definitions."""

from __future__ import annotations

from olora_bench.evaluation.scorer import Scorer
from olora_bench.evaluation.scores import evaluate

__all__ = ["Scorer", "evaluate"]
