"""The schema of a study file's `study` node, and what a study's files may not decide: which code runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, field_validator, model_validator

from olora_bench.config import Model, compose, options
from olora_bench.config.contrasts import check_pairs
from olora_bench.config.messages import validation_message
from olora_bench.config.schema import Criterion, Rate
from olora_bench.config.sources import NOT_STUDIES, Name, Strict
from olora_bench.errors import BadInput
from olora_bench.formats import read_yaml

MOST_RUNS = 20_000

Scalar = str | int | float | bool | None
Grid = dict[str, Scalar | list[Scalar]]


class Contrast(Strict):
    """An arm compared with a reference arm. `primary` contrasts carry the study's verdicts; `secondary` ones are shown beside them."""

    arm: Name
    reference: Name
    kind: Literal["primary", "secondary"]


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Seeds(Strict):
    """The seeds of the reported runs: `first` and those after it, as many as the last of `looks`.

    `looks` are numbers of seeds after which a contrast may be decided: its arms get the seeds of the next look only while it is not.
    """

    first: Annotated[int, Field(ge=0, lt=2**62)] = 10
    looks: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_RUNS)], ...], Field(min_length=1)]

    @field_validator("looks")
    @classmethod
    def _ascend(cls, looks: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(looks)):
            raise ValueError(f"study.seeds.looks={list(looks)}: each must be larger than the one before, e.g. [6, 8, 12, 16, 20]")
        return looks

    @property
    def all(self) -> tuple[int, ...]:
        """Every seed, up to the last look."""
        return tuple(range(self.first, self.first + self.looks[-1]))


class Tuning(Strict):
    """How `protocol: tuned` makes arms comparable: the same search of the learning rate for each, then fresh seeds at what it found.

    `criterion` is read on the tune part: `tune_loss` is minimised, `tune_gold_logprob` maximised. `lrs` is the start grid of all arms,
    in steps of a factor sqrt(10); `shared_lr`, when given, is a tuning point of every arm too, and is run at the fresh seeds beside the
    tuned ones. `max_extensions` is how many points may be added to either side of the start grid.

    `refinement` says what is tried about an arm's best on that grid: a point either side of it (`neighbours`), or the vertex of the
    parabola in log lr through it and the two beside it (`parabola`), on the common fine grid 10^(n/4).

    With 3 or 5 `finalists`, a fresh seed draws train and tune parts of its own (`data.block`), trains the chosen rate and as many of the
    fine grid on either side, and keeps, by its own tune part, the one that is scored. With 1 it trains the chosen rate on the common parts.
    """

    criterion: Criterion
    lrs: Annotated[tuple[Rate, ...], Field(min_length=3)]
    shared_lr: Rate | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    fresh_seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    max_extensions: int = Field(default=4, ge=0)
    refinement: Literal["neighbours", "parabola"] = "neighbours"
    finalists: Literal[1, 3, 5] = 1

    @field_validator("lrs")
    @classmethod
    def _on_the_ladder(cls, lrs: tuple[float, ...]) -> tuple[float, ...]:
        rungs = [round(2 * math.log10(lr)) for lr in lrs]
        if any(abs(lr / 10 ** (rung / 2) - 1) > 0.01 for lr, rung in zip(lrs, rungs, strict=True)):
            raise ValueError(f"study.tuning.lrs={list(lrs)}: each must be a power of sqrt(10): 1e-4, 3.16e-4, 1e-3, 3.16e-3, ...")
        if rungs != list(range(rungs[0], rungs[0] + len(rungs))):
            raise ValueError(f"study.tuning.lrs={list(lrs)}: each must be sqrt(10) times the one before: leave none out, smallest first")
        return lrs

    @model_validator(mode="after")
    def _seeds_are_fresh(self) -> Tuning:
        for name in ("seeds", "fresh_seeds"):
            named = getattr(self, name) or ()
            if len(set(named)) != len(named):
                raise ValueError(f"study.tuning.{name}={list(named)} names a seed twice: name each once")
        fresh = self.fresh_seeds or ()
        if used := sorted(set(self.seeds) & set(fresh)):
            raise ValueError(f"study.tuning.fresh_seeds={list(fresh)}: {used} are tuning seeds: choose seeds that chose nothing")
        return self

    @model_validator(mode="after")
    def _finalists_stand_alone(self) -> Tuning:
        if self.finalists > 1 and self.shared_lr is not None:
            raise ValueError(
                f"study.tuning.shared_lr={self.shared_lr:g} with finalists={self.finalists}: a shared rate chooses nothing. Leave one of "
                "the two out, and compare at a shared rate in a study of its own (protocol: shared_lr)"
            )
        return self


class Margin(Strict):
    """The smallest difference that matters: percentage points of score, nats of held-out loss per token. Left out: none is declared, and
    then no contrast is called equivalent."""

    score: Annotated[float, Field(gt=0, lt=100, strict=True)] | None = None
    loss: Annotated[float, Field(gt=0, strict=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _declares_one(cls, value: object) -> object:
        if not isinstance(value, dict) or not {name for name, one in value.items() if one is not None}:
            raise ValueError(f"study.margin={value} declares none: give score (percentage points), loss (nats per token) or both, as "
                             "{score: 1.0, loss: 0.01}, or leave study.margin out")  # fmt: skip
        return value


class Study(Strict):
    """A study: contrasts, declared before the runs, over a union of grids, and over the `seeds` of its looks, where it has any.

    A grid maps a config key (a group such as `init`, or a value such as `rank` or `data.cutoff`) to a value or a list of values;
    a grid's runs are the product of its lists, the study's runs the union over its grids.
    """

    name: Name
    title: str
    protocol: Literal["shared_lr", "tuned"]
    contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)]
    grids: Annotated[tuple[Grid, ...], Field(min_length=1)]
    tuning: Tuning | None = None
    seeds: Seeds | None = None
    margin: Margin | None = None

    @property
    def reported_seeds(self) -> tuple[int, ...] | None:
        """The seeds of the reported runs, all looks included; None where the grids name them."""
        fresh = None if self.tuning is None else self.tuning.fresh_seeds
        return fresh if self.seeds is None else self.seeds.all

    @property
    def set_for_each_run(self) -> dict[str, str]:
        """What neither a grid nor an override may set, since the study sets it for each run: key -> where."""
        keys = {"finalists": "study.tuning", "criterion": "study.tuning"}
        keys |= dict.fromkeys(("lr", "seed"), "study.tuning") if self.tuning is not None else {}
        keys |= {"data.block": "study.tuning"} if self.tuning is not None and self.tuning.finalists > 1 else {}
        return keys | ({"seed": "study.seeds"} if self.seeds is not None else {})

    @field_validator("contrasts")
    @classmethod
    def _two_arms_each_pair_once(cls, contrasts: tuple[Contrast, ...]) -> tuple[Contrast, ...]:
        check_pairs("study.contrasts", [(one.arm, one.reference) for one in contrasts])
        return contrasts

    @model_validator(mode="after")
    def _protocol_has_its_keys(self) -> Study:
        if self.protocol == "shared_lr" and self.tuning is not None:
            raise ValueError("study.tuning is given, but study.protocol is shared_lr: leave study.tuning out, or use protocol: tuned")
        if self.protocol == "tuned" and self.tuning is None:
            raise ValueError("study.protocol is tuned, but study.tuning is missing: give criterion, lrs and seeds")
        for number, grid in enumerate(self.grids):
            for key in self.set_for_each_run.keys() & grid.keys():
                raise ValueError(f"study.grids.{number}.{key}: {self.set_for_each_run[key]} sets it for each run: leave it out")
        return self

    @model_validator(mode="after")
    def _seeds_are_given_once(self) -> Study:
        if self.tuning is None:
            return self
        if self.seeds is None and self.tuning.fresh_seeds is None:
            raise ValueError("study.seeds is missing: under protocol tuned give study.seeds.looks, e.g. [6, 8, 12, 16, 20]")
        if self.seeds is not None and self.tuning.fresh_seeds is not None:
            raise ValueError(
                "study.seeds and study.tuning.fresh_seeds are both given: study.seeds gives the reported seeds; leave the other out"
            )
        if self.seeds is not None and (used := sorted(set(self.tuning.seeds) & set(self.seeds.all))):
            raise ValueError(f"study.seeds.first={self.seeds.first}: {used} are tuning seeds: choose seeds that chose nothing")
        return self

    @model_validator(mode="after")
    def _grids_are_not_empty(self) -> Study:
        if self.name in NOT_STUDIES:
            raise ValueError(f"study.name={self.name} is a reserved folder of results/ ({', '.join(NOT_STUDIES)}): choose another name")
        points = sum(math.prod(len(value) if isinstance(value, list) else 1 for value in grid.values()) for grid in self.grids)
        if points > MOST_RUNS:
            raise ValueError(f"study.grids come to {points} combinations; at most {MOST_RUNS} are allowed: split the study")
        for number, grid in enumerate(self.grids):
            for key, value in grid.items():
                if value == []:
                    raise ValueError(f"study.grids.{number}.{key} is empty: give at least one value, or leave the key out")
        return self


def parse_study(raw: Any, path: str) -> Study:
    """Check a study file's `study` node.

    Raises:
        BadInput: unknown key, empty grid or bad value, with the file's path.
    """
    if not isinstance(raw, dict):
        raise BadInput(f"{path} has no `study` node: a study file names study.name, study.contrasts and study.grids (see sweeps/demo.yaml)")
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{path}: {validation_message(error, Study, 'study')}") from error


# A study file chooses the sweeper and that there is one; the rest of these says what was composed, and differs always.
_FREE = ("mode", "overrides", "runtime", "searchpath", "sweep", "run")
_FREE_OF_JOB = ("name", "config_name", "override_dirname", "id", "num", "config")


def check_trust(model: Model, path: Path, overrides: Sequence[str]) -> None:
    """Refuse a study whose files let a model's own code run.

    Raises:
        BadInput: `model.trust_remote_code` is true, and neither conf nor the command line says so.
    """
    if not model.trust_remote_code or any(line.lstrip("+").startswith("model.trust_remote_code=") for line in overrides):
        return
    if model.name in options("model") and compose([f"model={model.name}"]).model.trust_remote_code:
        return
    raise BadInput(
        f"{path}: model.trust_remote_code=true of {model.name} comes with the study, and runs code that comes with the model. "
        "Say so yourself, once you have read that code: in conf/model/, or on the command line with model.trust_remote_code=true"
    )


def check_searchpath(path: Path) -> None:
    """Refuse a study file that has Hydra look for configs elsewhere: to look in a package is to import it, whatever is asked of the study.

    Raises:
        BadInput: it sets `hydra.searchpath`, or is no YAML.
    """
    raw = read_yaml(path)
    try:
        places = OmegaConf.select(OmegaConf.create(raw), "hydra.searchpath") if isinstance(raw, dict) else None
    except (OmegaConfBaseException, ValueError):
        return  # no config for Hydra either, which says what is wrong with it
    if places is not None:
        raise BadInput(
            f"{path}: hydra.searchpath={places} is not allowed in a study file: configs come from its folder and from conf/. "
            "Leave it out, and give it on the command line if you trust what lies there: hydra.searchpath=[...]"
        )


def check_hydra(path: Path, overrides: Sequence[str]) -> None:
    """Refuse a study whose files set what Hydra itself does: launcher, callbacks, logging and the like name code to run.

    Raises:
        BadInput: names the keys.
    """
    asked = [line for line in overrides if line.lstrip("+~").startswith("hydra")]
    theirs = _hydra(compose(overrides, config_name=path.name, config_dir=path.parent, whole=True))
    own = _hydra(compose(["hydra/sweeper=study", *asked], whole=True))
    if changed := sorted(key for key in theirs.keys() | own.keys() if theirs.get(key) != own.get(key)):
        keys = ", ".join(f"hydra.{key}" for key in changed)
        raise BadInput(
            f"{path}: the study sets {keys}, with which Hydra runs code that it names. "
            "Leave that out, and give what you want of it on the command line, e.g. hydra/launcher=processes"
        )


def _hydra(cfg: Any) -> dict[str, Any]:
    node: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    job = {key: value for key, value in node["job"].items() if key not in _FREE_OF_JOB}
    return {key: value for key, value in node.items() if key not in _FREE} | {"job": job}
