"""Scores of a model on benchmarks, by lm-eval's own definitions, and of its answers to instructions."""

from __future__ import annotations

from olora_bench.evaluation.generation import generate, text_metrics
from olora_bench.evaluation.scorer import Scorer
from olora_bench.evaluation.scores import NoRoom, Scoring, evaluate, measure_flips, token_budget

__all__ = ["NoRoom", "Scorer", "Scoring", "evaluate", "generate", "measure_flips", "text_metrics", "token_budget"]
