"""A mirror of the record, for people who watch runs live. The record is the truth; losing the mirror never costs a run. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from olora_bench.config import Tracker
from olora_bench.process.progress import say
from olora_bench.store import RunRecord
from olora_bench.tracking.wandb_mirror import WandbMirror

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Mirror", "NoMirror", "WandbMirror", "open_tracker", "rebuild"]

_REBUILD_WAIT_S = 300.0


class Mirror(Protocol):
    """What a run tells its mirror. No call raises, and none takes long."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Show the values of an optimiser step; null and NaN are left out. Steps must not go down."""

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Show the final values and close the mirror; waits a few seconds for it at most."""


class NoMirror:
    """`tracker=none`: the record is all there is."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Do nothing."""


def open_tracker(
    tracker: Tracker, *, run_id: str, name: str, config: Mapping[str, Any], group: str | None, directory: Path
) -> WandbMirror | NoMirror:
    """Open the mirror of one run. Returns at once; what goes wrong later is said and forgotten.

    Args:
        tracker: which mirror.
        run_id: the train_id, which becomes the id of the W&B run: the same run never appears twice.
        name: what people see.
        config: JSON values; must hold no secret.
        group: the study, if any.
        directory: where W&B keeps its files. An earlier offline copy of this run there, not uploaded yet, is replaced.
    """
    if tracker.name == "none":
        return NoMirror()
    try:
        return WandbMirror(tracker, run_id=run_id, name=name, config=config, group=group, directory=directory)
    except Exception as error:  # a folder that is a circle of links, no thread to be had: whatever it is, the run goes on
        say(f"W&B is lost ({type(error).__name__}: {error}). The run goes on, and its record has everything")
        return NoMirror()


def rebuild(
    tracker: Tracker,
    record: RunRecord,
    curve: pd.DataFrame,
    *,
    name: str,
    group: str | None,
    directory: Path,
    scores: Mapping[str, Any] | None = None,
) -> None:
    """Make a run's mirror again from its record and curve, under the same id. Steps that W&B has already are not shown twice.

    Args:
        tracker: which mirror.
        record: the run's record.
        curve: the run's curve, one row a step.
        name: what people see.
        group: the study, if any.
        directory: where W&B keeps its files.
        scores: further final values, e.g. benchmark scores.
    """
    if tracker.name == "none":
        return
    mirror = WandbMirror(
        tracker,
        run_id=record.train_id,
        name=name,
        config=record.config,
        group=group,
        directory=directory,
        limit=len(curve),
        wait_s=_REBUILD_WAIT_S,
    )
    for row in curve.to_dict("records"):
        mirror.log(int(row["step"]), {str(key): value for key, value in row.items()})
    mirror.finish({**record.metrics, "status": record.status, **(scores or {})}, failed=record.status != "done")
