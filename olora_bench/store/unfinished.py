"""How far an unfinished training has come, from the head of its checkpoint: no torch, and none of its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 2
"""Of checkpoints, as `training.checkpoint` writes them."""
_LARGEST_HEAD = 2**26


class CurveRow(BaseModel):
    """A row of the curve so far; what was not read after this step is None."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=True)
    step: Annotated[int, Field(ge=0)]
    wall_s: float
    train_loss: float | None
    tune_loss: float | None
    report_loss: float | None


class _Log(BaseModel):
    rows: list[CurveRow]


class _State(BaseModel):
    format: int
    owner: str
    log: _Log


def rows_so_far(checkpoint: Path, train_id: str) -> list[CurveRow]:
    """The curve that a run's checkpoint holds; empty where there is none of this run that can be read."""
    try:
        with checkpoint.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = file.read(length) if length <= _LARGEST_HEAD else b""
        state = _State.model_validate_json(json.loads(head)["__metadata__"]["state"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return []
    return state.log.rows if state.format == FORMAT and state.owner == train_id else []
