"""A study's runs as one typed frame: what each record says, and what records say of each other's cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern

import pandas as pd
from pydantic import JsonValue

from olora_bench.analysis.columns import PLACE
from olora_bench.analysis.frames import rows_of, scored_cell
from olora_bench.analysis.provenance import PROVENANCE, scored_with, table, trained_with
from olora_bench.identity import family_key, run_title
from olora_bench.store import EvalRecord, RunRecord
from olora_bench.store.manifest import PlannedRun

PER_RUN = frozenset({"init", "lr", "seed", "arm", "machine", "tracker", "model", "rank", "benchmarks", "suite", "assets", "finalists",
                     "criterion", "data.block", "recipe.read"})  # fmt: skip
"""What does not make a setting: it differs between a cell's runs, has a column of its own, or changes no number."""

AS_GIVEN = "as given"
"""The stage of a run that others made."""
_COUNTED = ("tokens_per_s", "examples_per_s", "base_bytes", "peak_bytes", "peak_above_base_bytes", "parameters_total",
            "parameters_trainable", "adapter_bytes", "steps", "clipped_step_share")  # fmt: skip
_RECORD = {"attempts": "Int64"} | dict.fromkeys(_COUNTED, "float64")
_NOT_START = ("name", "lr_ratio", "promises")
"""Keys of a config's init that do not say how A and B start; arms that share the others can be apart in the ratio of their rates alone."""
_TEXT = ("train_id", "eval_id", "base_eval_id", "cell", "family", "model", "arm", "init", "start", "setting", "stage", "roles", "state",
         "reason", "eval_state", "eval_reason", "started_at", *PROVENANCE)  # fmt: skip
_METRICS = ("report_loss_start", "report_loss", "report_gold_logprob_start", "report_gold_logprob", "tune_loss_start", "tune_loss",
            "tune_gold_logprob_start", "tune_gold_logprob")  # fmt: skip
_COSTS = ("supervised_tokens_per_s", "flops_utilisation")
_TIMES = ("init", "train", "optimise", "load", "import", "data", "part_losses", "save")
_EVERYWHERE = (*(f"metrics.{name}" for name in _METRICS), *(f"timings_s.{name}" for name in _TIMES), *(f"cost.{name}" for name in _COSTS))
"""Numbers that have a column although no record may hold them."""


@dataclass
class RunRow:
    """A run of the manifest, as far as its records are read.

    Attributes:
        run: as planned.
        state, reason: of its training; as `StudyFrames.runs` says.
        eval_state, eval_reason: of its scores.
        config: its record's; empty without a record.
        measured: its record's columns of the frame, and what its scores add. Whole records of thousands of runs would not fit.
    """

    run: PlannedRun
    state: str = "missing"
    reason: str | None = None
    eval_state: str = "missing"
    eval_reason: str | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    measured: dict[str, object] = field(default_factory=dict)
    setting: str = field(default="", init=False)

    @property
    def cell(self) -> str:
        """The id of what compared runs share."""
        return scored_cell(self.run.cell, self.run.base_eval_id)

    def columns(self) -> dict[str, object]:
        """Its row of the frame."""
        planned = self.run.model_dump(exclude={"steps", "roles", "cell"})
        states = {"state": self.state, "reason": self.reason, "eval_state": self.eval_state, "eval_reason": self.eval_reason}
        row = planned | states | {"cell": self.cell, "setting": self.setting, "length": self.run.steps, "roles": " ".join(self.run.roles)}
        return row | self.measured

    def keep(self, record: RunRecord) -> None:
        """What the frame shows of its readable record."""
        self.config = record.config
        self.measured |= {intern(name): value for name, value in _of_record(record).items()}  # names once for all runs

    def keep_scores(self, scored: EvalRecord) -> None:
        """What the frame shows of its readable scores."""
        self.measured |= scored_with(scored.provenance)
        self.measured |= {f"generation.{name}": value for name, value in numbers(scored.generation)}

    def settings(self) -> dict[str, JsonValue]:
        """What may tell its cell from another of the same model and rank, by dotted key; empty without a record."""
        shared = flat({key: value for key, value in self.config.items() if key not in PER_RUN})
        return {key: value for key, value in shared if key not in PER_RUN}


def _of_record(record: RunRecord) -> dict[str, object]:
    init = table(record.config, "init")
    row: dict[str, object] = {
        "init": init.get("name"),
        "lr_ratio": init.get("lr_ratio"),
        "start": intern(json.dumps({key: value for key, value in init.items() if key not in _NOT_START}, sort_keys=True)),
        "alpha": record.config.get("alpha"),
        "family": family_key(record.identity),
        "started_at": record.started_at,
        **trained_with(record.provenance),
        **{name: getattr(record, name) for name in _RECORD},
    }
    row |= {f"metrics.{name}": value for name, value in record.metrics.items()}
    row |= {f"timings_s.{name}": value for name, value in record.timings_s.items()}
    row |= {f"cost.{name}": record.cost.get(name) for name in _COSTS}
    return row | {f"init.{name}": value for name, value in numbers(dict(flat(record.init)))}


def numbers(facts: Mapping[str, JsonValue]) -> Iterator[tuple[str, float]]:
    """Those facts of a record that are numbers."""
    yield from ((name, value) for name, value in facts.items() if isinstance(value, int | float) and not isinstance(value, bool))


def flat(value: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """The leaves of nested tables, by dotted key; a list is a leaf."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def run_frame(rows: list[RunRow]) -> pd.DataFrame:
    """The frame `StudyFrames.runs`: every column typed, those absent everywhere included, and what a record says of its cell or arm told to
    their other runs."""
    _name_settings(rows)
    frame = pd.DataFrame([row.columns() for row in rows])
    for key, of in (("alpha", "cell"), ("family", "cell"), ("lr_ratio", "arm"), ("init", "arm"), ("start", "arm")):
        known = frame[frame[key].notna()].drop_duplicates(of, keep="last").set_index(of)[key] if key in frame else pd.Series(dtype=object)
        frame[key] = frame[of].map(known)
    measured = [name for name in sorted(map(str, frame)) if name.startswith(("metrics.", "timings_s.", "init.", "generation."))]
    types = dict.fromkeys(_TEXT, "object") | {"rank": "int64", "seed": "int64", "lr": "float64", "alpha": "float64", "lr_ratio": "float64"}
    types |= _RECORD | {"length": "float64"} | dict.fromkeys((*_EVERYWHERE, *measured), "float64")
    return _with_lengths(pd.DataFrame({name: _typed(frame, name, dtype) for name, dtype in types.items()}, index=frame.index))


def _typed(frame: pd.DataFrame, name: str, dtype: str) -> pd.Series:
    column = frame[name] if name in frame else pd.Series([None] * len(frame), index=frame.index, dtype="object")
    if dtype == "object":
        return column.astype(object).where(column.notna(), None)
    return pd.to_numeric(column).astype(pd.api.types.pandas_dtype(dtype))


def _with_lengths(runs: pd.DataFrame) -> pd.DataFrame:
    """`length` of each cell, done or planned, and `longest`; where nothing is known, no cell is called shorter."""
    done = runs["steps"].where(runs["state"] == "done").groupby(runs["cell"]).transform("max")
    runs["length"] = done.fillna(runs["length"].groupby(runs["cell"]).transform("max"))
    most = runs["length"].groupby(runs["family"]).transform("max")
    runs["longest"] = ~(runs["length"] < most)
    # Of a cell without records nothing is known but its length: enough to tell it from its shorter twin.
    for _, group in runs.groupby(PLACE, sort=False):
        if group["cell"].nunique() > 1 and group["length"].nunique() > 1:
            lengths = group["length"].map(lambda steps: f"{steps:g} steps")
            runs.loc[group.index, "setting"] = [", ".join(filter(None, pair)) for pair in zip(group["setting"], lengths, strict=True)]
    return runs


def _name_settings(rows: Iterable[RunRow]) -> None:
    """Give each row the words that tell its cell from others of its model and rank."""
    cells: dict[tuple[str, int], dict[str, dict[str, JsonValue]]] = {}
    for row in rows:
        known = cells.setdefault((row.run.model, row.run.rank), {})
        known[row.cell] = known.get(row.cell) or row.settings()
    words = {(*who, cell): text for who, known in cells.items() for cell, text in _told_apart(known)}
    for row in rows:
        row.setting = words[row.run.model, row.run.rank, row.cell]


def _told_apart(cells: Mapping[str, Mapping[str, JsonValue]]) -> Iterator[tuple[str, str]]:
    keys = sorted({key for settings in cells.values() for key in settings})
    vary = [key for key in keys if len({repr(settings.get(key)) for settings in cells.values() if settings}) > 1]
    for cell, settings in cells.items():
        yield cell, ", ".join(f"{key.removeprefix('recipe.')} {settings.get(key)}" for key in vary) if settings else ""


def contradictions(runs: pd.DataFrame) -> list[str]:
    """Two runs that claim to be the same comparison's same half."""
    key = ["cell", "arm", "lr", "seed"]
    twice = runs[runs.duplicated(key, keep=False)]
    return [
        f"{len(group)} runs are {run_title(rows_of(group)[0])} of one cell ({', '.join(group['train_id'])}): the first counts"
        for _, group in twice.groupby(key, sort=False)
    ]
