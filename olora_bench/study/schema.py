"""The schema of a study file's `study` node: what is compared with what, on which grid of runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from olora_bench.config.compose import validation_message
from olora_bench.config.schema import Name, Strict
from olora_bench.errors import BadInput

# Folders of results/ that are not studies.
RESERVED_NAMES = ("runs", "base", "published")

Scalar = str | int | float | bool | None
Grid = dict[str, Scalar | list[Scalar]]


class Contrast(Strict):
    """An arm compared with a reference arm. `primary` contrasts carry the study's verdicts; `secondary` ones are shown beside them."""

    arm: Name
    reference: Name
    kind: Literal["primary", "secondary"]


class Study(Strict):
    """A study: contrasts, declared before the runs, over a union of grids.

    A grid maps a config key (a group such as `init`, or a value such as `rank` or `data.cutoff`) to a value or a list of values;
    a grid's runs are the product of its lists, the study's runs the union over its grids.
    """

    name: Name
    title: str
    protocol: Literal["shared_lr"]
    contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)]
    grids: Annotated[tuple[Grid, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _grids_are_not_empty(self) -> Study:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"study.name={self.name} is a reserved folder of results/ ({', '.join(RESERVED_NAMES)}): choose another name")
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
        raise BadInput(f"{path}: {validation_message(error, prefix='study')}") from error
