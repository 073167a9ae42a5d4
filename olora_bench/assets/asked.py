"""The command line that asks for an experiment's assets, whoever asked for the experiment and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from olora_bench.assets.hub import described_name
from olora_bench.config import Data, Experiment, Machine, Model, Suite, compose, options, plain
from olora_bench.config.choices import is_described
from olora_bench.config.lines import typed, value_line

NODES: dict[str, type[BaseModel]] = {"model": Model, "data": Data, "suite": Suite, "machine": Machine}
DECIDE: dict[str, Any] = {
    "assets": True, "model": True, "data": True, "suite": {"benchmarks", "rows"}, "machine": {"cache_dir", "local_dir"},
}  # fmt: skip
"""The keys that decide what is fetched and where to."""


def commands(experiments: Iterable[Experiment]) -> list[str]:
    """The commands that fetch what experiments need, each once."""
    return [command(one) for one in {one.model_dump_json(include=DECIDE): one for one in experiments}.values()]


def command(experiment: Experiment) -> str:
    """The command that fetches an experiment's assets: its options by name, and what differs from them."""
    asked = [("model", _named(experiment.model)), ("data", experiment.data.name), ("suite", experiment.suite.name)]
    chosen = [value_line(group, name) for group, name in asked if is_described(name) or name in options(group)]
    unchanged = plain(compose(chosen))
    unchanged |= {node: _validated(node, unchanged[node]) for node in NODES}
    values = experiment.model_dump(mode="json", include=DECIDE)
    values["suite"]["benchmarks"] = _by_group(experiment.suite)
    return typed("olora_bench.assets", *chosen, *(line for key in values for line in _differing(key, values[key], unchanged[key])))


def _named(model: Model) -> str:
    """The option by which a command line names a model."""
    if model.hub is not None and model.name == described_name(model.hub.id):
        return f"hub:{model.hub.id}" + (f"@{model.hub.revision}" if model.hub.revision else "")
    return f"local:{model.local}" if model.local is not None and Path(model.local).is_absolute() else model.name


def _by_group(suite: Suite) -> list[str]:
    """The benchmarks as they were named: a group, whose tasks stand in its place, by its own name."""
    names = list(suite.benchmarks)
    for group, one in suite.groups.items():  # an outer one before those in it
        if set(one.tasks) <= set(names):
            names.insert(names.index(one.tasks[0]), group)
            names = [name for name in names if name not in one.tasks]
    return names


def _validated(node: str, values: Any) -> Any:
    """Values as a checked node has them; as they are written where they are none yet, as a model without `target_modules`."""
    try:
        return NODES[node].model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def _differing(key: str, value: Any, unchanged: Any) -> Iterator[str]:
    """The lines that make a value of another one."""
    if isinstance(value, dict) and isinstance(unchanged, dict):
        for name, one in value.items():
            yield from _differing(f"{key}.{name}", one, unchanged.get(name))
    elif value != unchanged:
        yield value_line("++" * (key.count(".") > 1) + key, value)  # a file of a group may leave out what is below a key
