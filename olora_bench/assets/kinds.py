"""What an experiment needs and where each of it comes from: the plain values of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from olora_bench.assets import made_up
from olora_bench.config import Benchmark, Data, Experiment, Model
from olora_bench.errors import BadInput

Source = Literal["packaged", "local", "hub", "generated"]
Spec = Model | Benchmark | Data


@dataclass(frozen=True)
class Asset:
    """Where one asset comes from.

    Attributes:
        key: `model:<name>`, `benchmark:<name>` or `data:<name>`.
        source: which of the sources serves it.
        identity: Hub `repo@commit` (with `#config` where there is one); packaged `package==version#sha256:...`; local `sha256:...` of the
            content; generated `generated:...`. Part of the ids of runs and evaluations.
    """

    key: str
    source: Source
    identity: str


@dataclass(frozen=True)
class Wanted:
    """One asset an experiment needs: its spec, whether it is generated, and the splits that must be there."""

    key: str
    spec: Spec
    generated: bool
    splits: tuple[str, ...] = ()

    @property
    def source_splits(self) -> tuple[str, ...]:
        """Those that a folder or a repository must have: the parts of instruction data are made of its rows, or have files of their own."""
        return tuple(self.spec.part_of_split) if isinstance(self.spec, Data) else self.splits


def wanted(experiment: Experiment) -> dict[str, Wanted]:
    """Every asset of an experiment, by key: the model, then benchmarks in the order they are named, then instruction data.

    Raises:
        BadInput: one benchmark is wanted with real rows and with made-up ones, made-up rows do not exist, or answers to instructions are
            wanted of data that has none.
    """
    model, data, suite = experiment.model, experiment.data, experiment.suite
    if suite.generation is not None and data.kind != "instructions":
        raise BadInput(
            f"suite={suite.name} asks for answers to instructions, and data={data.name} has none. "
            "Allowed: instruction data, e.g. data=alpaca_1k, or suite.generation=null"
        )
    found = {f"model:{model.name}": Wanted(f"model:{model.name}", model, model.generated is not None)}
    trained_on = data.benchmarks if data.kind == "benchmarks" else ()
    read_by_data = (*trained_on, *data.decontaminate)
    for name in dict.fromkeys((*read_by_data, *suite.benchmarks)):
        benchmark = experiment.benchmarks[name]
        rows = ([data.rows] if name in read_by_data else []) + ([suite.rows] if name in suite.benchmarks else [])
        if len(set(rows)) > 1:
            raise BadInput(
                f"data.rows={data.rows} and suite.rows={suite.rows} want two kinds of rows of {name}, which data={data.name} "
                f"{'trains on' if name in trained_on else 'is decontaminated against'}. "
                "Allowed: the same in both, e.g. data=made_up suite=commonsense6_made_up"
            )
        if rows[0] == "made_up":
            made_up.check(benchmark.task)
        splits = ("train", benchmark.report_split) if name in trained_on else (benchmark.report_split,)
        found[f"benchmark:{name}"] = Wanted(f"benchmark:{name}", benchmark, rows[0] == "made_up", splits)
    if data.kind == "instructions":
        found[f"data:{data.name}"] = Wanted(f"data:{data.name}", data, data.rows == "made_up", ("train", *data.own_parts))
    return found


def generated_spec(spec: Spec) -> dict[str, JsonValue]:
    """What decides the content of a generated asset."""
    if isinstance(spec, Model):
        return spec.model_dump(mode="json", include={"family", "generated", "vocab_size", "context_length"})
    return {"made_up": "instructions" if isinstance(spec, Data) else spec.task, "version": made_up.VERSION}


NOWHERE = "none"
"""The source of an asset that none of the allowed sources has."""


@dataclass(frozen=True)
class Missing:
    """One asset that cannot be had: which, from where (or `NOWHERE`), why, and what brings it."""

    key: str
    source: str
    reason: str
    bring: str
