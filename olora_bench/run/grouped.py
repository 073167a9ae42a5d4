"""The scores of lm-eval's groups, from those of their tasks, as lm-eval 0.4.13 makes them (`lm_eval.api.group`, `lm_eval.api.metrics`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from olora_bench.config.schema import Group, Metric
from olora_bench.store import EvalRecord, Score


@dataclass(frozen=True)
class GroupScore:
    """A group's means and their standard errors (null where a task of one item has none), its number of items, and its tasks."""

    metrics: dict[Metric, float]
    stderr: dict[Metric, float | None]
    items: int
    tasks: tuple[str, ...]


def group_scores(record: EvalRecord) -> dict[str, GroupScore]:
    """Of the groups that the record's suite named, those with a mean."""
    suite = record.config.get("suite")
    named = suite.get("groups") if isinstance(suite, dict) else None
    groups = {name: Group.model_validate(one) for name, one in (named if isinstance(named, dict) else {}).items()}
    return {name: _of(group, record.scores) for name, group in groups.items() if group.weighted}


def _of(group: Group, scores: Mapping[str, Score]) -> GroupScore:
    names = tuple(name for name in group.tasks if name in scores)
    tasks = [scores[name] for name in names]
    found = {metric: one for metric, by_size in group.weighted.items() if (one := _mean(tasks, metric, by_size=by_size)) is not None}
    metrics, errors = ({metric: one[part] for metric, one in found.items()} for part in (0, 1))
    return GroupScore(metrics, errors, sum(one.items for one in tasks), names)  # type: ignore[arg-type]


def _mean(tasks: list[Score], metric: Metric, *, by_size: bool) -> tuple[float, float | None] | None:
    """A mean over the tasks that have the metric, and its standard error: from the pooled variance of items, or of unweighted means."""
    having = [one for one in tasks if metric in one.metrics]
    if not having:
        return None
    sizes = [one.items if by_size else 1 for one in having]
    mean = sum(one.metrics[metric] * size for one, size in zip(having, sizes, strict=True)) / sum(sizes)
    errors = [error for one in having if (error := one.stderr[metric]) is not None]
    if len(errors) < len(having):
        return mean, None
    if not by_size:
        return mean, math.sqrt(sum(error**2 for error in errors)) / len(errors)
    pooled = sum((size - 1) * error**2 * size for size, error in zip(sizes, errors, strict=True)) / (sum(sizes) - len(sizes))
    return mean, math.sqrt(pooled / sum(sizes))


def group_lines(record: EvalRecord, base: EvalRecord | None) -> Iterator[str]:
    """A line a group for a terminal, beside the untouched base's."""
    before = {} if base is None else group_scores(base)
    for name, score in group_scores(record).items():
        for metric, value in score.metrics.items():
            was = f"base {before[name].metrics[metric]:.1%}, " if name in before and metric in before[name].metrics else ""
            yield f"{name}, all tasks: {metric} {value:.1%} ({was}{score.items} items)"
