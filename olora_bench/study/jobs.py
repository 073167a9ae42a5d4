"""From a combination of a study's grids to a run that could be started: composed, checked, identified."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from olora_bench.assets import Asset, resolve
from olora_bench.assets.resolve import Settled
from olora_bench.config import Experiment, compose, load, plain
from olora_bench.config.lines import line
from olora_bench.config.schema import Criterion
from olora_bench.identity import Identified, cell_key, identify
from olora_bench.process.hardware import has_cuda, resolve_precision
from olora_bench.store.manifest import Role
from olora_bench.store.record import Json
from olora_bench.study.checks import GROUPS, check_groups, check_key
from olora_bench.study.schema import Scalar, check_trust

UNSCORED: Json = {"name": "none", "benchmarks": [], "generation": None}
"""The suite of a run that is trained and not scored, `conf/suite/none.yaml`."""


@dataclass(frozen=True)
class Wanted:
    """A run that a study asks for: a combination of values, the number of its grid, the stage that asks for it, and what it is for; and the
    learning rates, its own among them, of which its block keeps one by `criterion`."""

    grid: int
    values: dict[str, Scalar]
    stage: str = "grid"
    role: Role = "shared"
    finalists: tuple[float, ...] = ()
    criterion: Criterion = "tune_loss"

    def at(self, stage: str, role: Role, values: Mapping[str, Scalar]) -> Wanted:
        """The same combination with further values, such as a learning rate and a seed."""
        return replace(self, values={**self.values, **values}, stage=stage, role=role)


@dataclass(frozen=True)
class Launch:
    """What a launcher is handed: the overrides, and the experiment that they compose."""

    overrides: tuple[str, ...]
    experiment: Experiment


@dataclass(frozen=True)
class Job:
    """One run of a study: the overrides that compose it, the experiment, its ids and its assets.

    `roles` says what the run is for, as `store.manifest.Role` does. `stage` is the step of the study that first asked for it. `block` is
    the work that the run is a part of, where it is no piece of work of its own.
    """

    overrides: tuple[str, ...]
    experiment: Experiment
    what: Identified
    assets: dict[str, Asset]
    stage: str = "grid"
    roles: tuple[Role, ...] = ("shared",)
    block: Launch | None = None

    @property
    def launch(self) -> Launch:
        """What to hand to a launcher to get the run."""
        return self.block or Launch(self.overrides, self.experiment)

    @cached_property
    def cell(self) -> str:
        """The id of what a run must share with another to be compared with it: all but arm, lr and seed."""
        return cell_key(self.what.train)


class Composer:
    """Makes jobs of combinations. Each option of a config group is composed once, values are set on copies; each run is checked once.

    `precision` is what the study's lock settled `precision=auto` to; null settles it for this machine. `guessed` says that this was done
    on a machine without a GPU, though the runs may be made on another. `settled`: as `resolve` takes it, for commands that only read.
    """

    def __init__(self, path: Path, overrides: Sequence[str]) -> None:
        self.path, self.overrides = path, tuple(overrides)
        self.precision: str | None = None
        self.guessed = False
        self.settled: Settled | None = None
        self._composed: dict[tuple[str, ...], Json] = {}
        self._jobs: dict[tuple[object, ...], Job] = {}

    def job(self, wanted: Wanted) -> Job:
        """The job of a wanted run. What only chooses a learning rate is read on the tune part: no benchmark is scored for it.

        Raises:
            BadInput: the combination cannot be carried out as written.
        """
        key = (wanted.role in ("tuning", "finalist") and wanted.role, wanted.finalists, *wanted.values.items())
        if key not in self._jobs:
            self._jobs[key] = self._made(wanted)
        job, roles = self._jobs[key], (wanted.role,)
        return job if (job.stage, job.roles) == (wanted.stage, roles) else replace(job, stage=wanted.stage, roles=roles)

    def composed(self, *groups: str) -> Json:
        """The study file's config under the overrides and these choices of group options."""
        if groups not in self._composed:
            self._composed[groups] = plain(compose([*self.overrides, *groups], config_name=self.path.name, config_dir=self.path.parent))
        return self._composed[groups]

    def experiment(self, wanted: Wanted, *, scored: bool = True) -> Experiment:
        """The experiment of a wanted run, checked; no asset is looked for.

        Raises:
            BadInput: the combination cannot be carried out as written.
        """
        raw = self._raw(wanted)
        if not scored:
            _table(raw, "suite").update(UNSCORED)
        experiment = load(raw, (self.path.parent,))
        check_trust(experiment.model, self.path, self.overrides)
        return experiment

    def _made(self, wanted: Wanted) -> Job:
        experiment = self.experiment(wanted, scored=wanted.role != "tuning")
        assets = resolve(experiment, self.settled)
        what = identify(experiment, {key: asset.identity for key, asset in assets.items()})
        lines = _lines(wanted.values, experiment)
        unscored = ("suite=none", "suite.benchmarks=[]", "suite.generation=null") if wanted.role in ("tuning", "finalist") else ()
        block = _block(wanted, experiment) if wanted.finalists else None
        return Job(lines + unscored, experiment, what.unscored() if wanted.role == "finalist" else what, assets, block=block)

    def _raw(self, wanted: Wanted) -> Json:
        """The composed config of a combination, as plain values."""
        check_groups(wanted.values, self.path, wanted.grid)
        raw = copy.deepcopy(self.composed())
        # A group's node depends on no other group's choice, so each option is composed once and not each combination: it takes 0.1 s.
        for group in (key for key in wanted.values if key in GROUPS):
            raw[group] = copy.deepcopy(self.composed(line(group, wanted.values[group]))[group])
        for key, value in wanted.values.items():
            if key not in GROUPS:
                check_key(raw, key, self.path, wanted.grid)
                _set(raw, key, value)
        if raw["precision"] == "auto":
            device = str(_table(raw, "machine")["device"])
            self.guessed |= self.precision is None and device == "auto" and not has_cuda()
            raw["precision"] = self.precision or resolve_precision("auto", device)
        return raw


def _lines(values: Mapping[str, Scalar], experiment: Experiment) -> tuple[str, ...]:
    # A job is composed again where it runs, perhaps on other hardware: the settled precision travels with it.
    return (*(line(key, value) for key, value in values.items()), f"precision={experiment.precision}")


def _block(wanted: Wanted, experiment: Experiment) -> Launch:
    """All finalists of a block as one piece of work: whoever trains them scores the one that is kept, since adapters do not travel."""
    middle = wanted.finalists[len(wanted.finalists) // 2]
    lines = _lines({**wanted.values, "lr": middle}, experiment)
    more = (f"finalists={json.dumps(wanted.finalists)}", f"criterion={wanted.criterion}")
    whole = {"lr": middle, "finalists": wanted.finalists, "criterion": wanted.criterion}
    return Launch(lines + more, experiment.model_copy(update=whole))


def _set(raw: Json, key: str, value: JsonValue) -> None:
    *parents, last = key.split(".")
    for part in parents:
        raw = _table(raw, part)
    raw[last] = value


def _table(raw: Json, key: str) -> Json:
    inner = raw[key]
    assert isinstance(inner, dict), key
    return inner
