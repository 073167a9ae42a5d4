"""The file that declares a study whose runs exist elsewhere, and what it may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from olora_bench.config.contrasts import check_pairs
from olora_bench.config.sources import NOT_STUDIES, Name, Strict
from olora_bench.errors import BadInput
from olora_bench.foreign.choice import Choice
from olora_bench.foreign.pattern import compiled
from olora_bench.formats import read_yaml
from olora_bench.store.record import problems


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")
    return value


Rate = Annotated[float, BeforeValidator(_no_bool), Field(gt=0)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Contrast(Strict):
    """An arm compared with a reference arm; only `primary` ones carry a verdict."""

    arm: Name
    reference: Name
    kind: Literal["primary", "secondary"] = "primary"


class Margin(Strict):
    """The smallest difference that matters: percentage points of score, nats of held-out loss."""

    score: Annotated[float, Field(gt=0, lt=100, strict=True)] | None = None
    loss: Annotated[float, Field(gt=0, strict=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _declares_one(cls, value: object) -> object:
        if isinstance(value, dict) and not any(one is not None for one in value.values()):
            raise ValueError("it declares none: give score (percentage points), loss (nats) or both, or leave margin out")
        return value


class ForeignStudy(Strict):
    """A study of runs that others made.

    Attributes:
        runs: patterns of folders, from the file's own, with the fields of `foreign.pattern.FIELDS`; what lies below a folder is its run's.
        scores: a CSV with a row a score or an item of any run (columns of `foreign.tables.COLUMNS`).
        contrasts, margin: as in every study.
        arms, seeds, lrs: what there should be; a run that is not there is missing, one beside them is not read.
        lr: an arm's learning rate, where neither pattern nor trainer says it.
        by_seed: whether runs are paired by seed whatever their rates, one run of an arm a seed; else so where each arm has one rate.
        base: the base model's name; rank: the adapters', where no adapter is there to say it.
        metrics: task -> metric, where it is not to be the usual one.
        benchmarks: only these, which every run should have.
        accept: benchmark -> what of `foreign.choice.ACCEPTABLE` its runs may differ in.
    """

    name: Name
    title: Text
    runs: tuple[Text, ...] = ()
    scores: Text | None = None
    contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)]
    margin: Margin | None = None
    arms: tuple[Name, ...] | None = None
    seeds: tuple[Seed, ...] | None = None
    lrs: tuple[Rate, ...] | None = None
    lr: dict[Name, Rate] = Field(default_factory=dict)
    by_seed: bool = False
    base: Text | None = None
    rank: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    metrics: dict[Text, Text] = Field(default_factory=dict)
    benchmarks: tuple[Text, ...] | None = None
    accept: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)

    @property
    def choice(self) -> Choice:
        """What the study says over the checks of pairing."""
        return Choice(self.benchmarks, self.accept)

    @field_validator("runs", mode="before")
    @classmethod
    def _one_or_several(cls, runs: object) -> object:
        return [runs] if isinstance(runs, str) else runs

    @model_validator(mode="after")
    def _says_where(self) -> ForeignStudy:
        if not self.runs and self.scores is None:
            raise ValueError(
                "neither runs nor scores is given: say where the runs' folders lie (runs: runs/{arm}/seed{seed}), or name their CSV"
            )
        if self.name in NOT_STUDIES:
            raise ValueError(f"name={self.name} is a reserved folder of results/ ({', '.join(NOT_STUDIES)}): choose another name")
        try:
            assert self.choice
        except BadInput as error:
            raise ValueError(str(error)) from None
        check_pairs("contrasts", [(one.arm, one.reference) for one in self.contrasts])
        for contrast in self.contrasts:
            if absent := [arm for arm in (contrast.arm, contrast.reference) if self.arms is not None and arm not in self.arms]:
                raise ValueError(f"contrasts: {absent[0]} is not among arms ({', '.join(self.arms or ())})")
        return self


def read_study(path: Path) -> ForeignStudy:
    """The study that a file declares.

    Raises:
        BadInput: there is no such file, an unknown key, a bad value or pattern; names the file.
    """
    raw = read_yaml(path)
    if raw is None:
        raise BadInput(f"{path}: no such file. Name the YAML that says where the runs lie (docs/judge.md)")
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: no table of keys. It needs name, title, runs and contrasts (docs/judge.md)")
    try:
        study = ForeignStudy.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{path}: {problems(error)}") from error
    for pattern in study.runs:
        if "**" in pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise BadInput(f"{path}: runs: {pattern!r} is not allowed: a pattern below the file's own folder, without ** and ..")
        compiled(pattern, ("arm", "seed"))
    if study.scores is not None and (Path(study.scores).is_absolute() or ".." in Path(study.scores).parts):
        raise BadInput(f"{path}: scores: {study.scores!r} is not allowed: a CSV below the file's own folder, without ..")
    return study
