"""A mirror of the record, for people who watch runs live. The record is the truth; losing the mirror never costs a run. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from olora_bench.config import Tracker
from olora_bench.process.progress import say
from olora_bench.tracking.wandb_mirror import MirroredRun, WandbMirror

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Mirror", "MirroredRun", "NoMirror", "WandbMirror", "open_tracker", "rebuild"]

_REBUILD_WAIT_S = 300.0


class Mirror(Protocol):
    """What a run tells its mirror. No call raises, and none takes long."""

    def log(self, step: int, values: Mapping[str, object]) -> None:
        """Show the values of an optimiser step; null and NaN are left out. Steps must not go down."""

    def finish(self, summary: Mapping[str, object], failed: bool = False) -> None:
        """Show the final values and close the mirror; waits a few seconds for it at most."""


class NoMirror:
    """`tracker=none`: the record is all there is."""

    def log(self, step: int, values: Mapping[str, object]) -> None:
        """Do nothing."""

    def finish(self, summary: Mapping[str, object], failed: bool = False) -> None:
        """Do nothing."""


def open_tracker(tracker: Tracker, run: MirroredRun) -> WandbMirror | NoMirror:
    """Open the mirror of one run. Returns at once; what goes wrong later is said and forgotten."""
    if tracker.name == "none":
        return NoMirror()
    try:
        return WandbMirror(tracker, run)
    except Exception as error:  # a folder that is a circle of links, no thread to be had: whatever it is, the run goes on
        say(f"W&B is lost ({type(error).__name__}: {error}). The run goes on, and its record has everything")
        return NoMirror()


def rebuild(tracker: Tracker, run: MirroredRun, curve: pd.DataFrame, summary: Mapping[str, object]) -> None:
    """Make a finished run's mirror again, under the same id. Steps that W&B has already are not shown twice.

    Args:
        curve: the run's curve, one row a step.
        summary: the final values: the record's metrics and `status`, and benchmark scores.
    """
    if tracker.name == "none":
        return
    mirror = WandbMirror(tracker, run, limit=len(curve), wait_s=_REBUILD_WAIT_S)
    for row in curve.to_dict("records"):
        mirror.log(int(row["step"]), {str(key): value for key, value in row.items()})
    mirror.finish(summary, failed=summary["status"] != "done")
