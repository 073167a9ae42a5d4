"""What a training has come to so far. It records, and passes rows on; losses are read and judged in the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, TypedDict

import pandas as pd

from olora_bench.training.losses import PartLosses
from olora_bench.training.memory import PeakMemory


class Row(TypedDict):
    """One row of the curve; what was not read after this step is None."""

    step: int
    tokens: int
    wall_s: float
    train_loss: float | None
    tune_loss: float | None
    report_loss: float | None
    lr: float | None
    grad_norm: float | None


class LogState(TypedDict):
    """A log as JSON values, as a checkpoint keeps it."""

    rows: list[Row]
    metrics: dict[str, float | None]
    totals: dict[str, float]


COLUMNS = {name: "int64" if name in ("step", "tokens") else "float64" for name in Row.__annotations__}


FINAL = ("tune_loss", "tune_gold_logprob", "report_loss", "report_gold_logprob")
"""The metrics that a run has at its end, as `PartLosses` names them; those of the report part where it was read."""


class Update(NamedTuple):
    """One optimiser step: its batch's loss (nats per supervised token), the first group's rate, the gradient's norm before clipping."""

    loss: float
    lr: float
    grad_norm: float
    tokens: int
    supervised: int
    examples: int
    seconds: float


@dataclass
class Totals:
    """Sums over all steps, those of earlier processes included. Memory in bytes: `peak_above_start` is above the level before a step."""

    tokens: int = 0
    examples: int = 0
    supervised: int = 0
    seconds: float = 0.0
    reading_s: float = 0.0
    peak: int = 0
    peak_above_start: int = 0


@dataclass
class Log:
    """The curve as it grows. `metrics` are the part losses at the start, and as last read; `last_read` are those of this process."""

    on_row: Callable[[Row], None] | None = None
    rows: list[Row] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    last_read: PartLosses | None = None

    def count(self, update: Update) -> None:
        """Add an optimiser step to the totals and its loss to the train losses."""
        totals = self.totals
        totals.tokens += update.tokens
        totals.examples += update.examples
        totals.supervised += update.supervised
        totals.seconds += update.seconds
        self.train_losses.append(update.loss)

    def add_row(self, step: int, update: Update | None, read: PartLosses | None) -> None:
        """Add the curve's row of a step (0: before the first), and pass it on."""
        loss, lr, grad_norm = (None, None, None) if update is None else (update.loss, update.lr, update.grad_norm)
        tune, report = (None, None) if read is None else (read.tune_loss, read.report_loss)
        if read is not None:
            known = {name: value for name in FINAL if (value := getattr(read, name)) is not None}
            self.metrics |= {name if step else f"{name}_start": value for name, value in known.items()}
            self.last_read = read
            self.totals.reading_s += read.seconds
        self.rows.append(
            Row(
                step=step, tokens=self.totals.tokens, wall_s=self.totals.seconds, train_loss=loss, tune_loss=tune, report_loss=report,
                lr=lr, grad_norm=grad_norm,
            )
        )  # fmt: skip
        if self.on_row is not None:
            self.on_row(self.rows[-1])

    def saw(self, memory: PeakMemory) -> None:
        """Raise the peaks to this process's own."""
        peak = memory.read()
        self.totals.peak = max(self.totals.peak, peak)
        self.totals.peak_above_start = max(self.totals.peak_above_start, peak - memory.start)

    def state(self, memory: PeakMemory) -> LogState:
        """Everything of this, as JSON values. Only a run that has not diverged has a state to keep."""
        self.saw(memory)
        return {"rows": self.rows, "metrics": self.metrics, "totals": asdict(self.totals)}

    def restore(self, state: LogState) -> None:
        """Go on from a state, and pass its rows on."""
        self.rows, self.metrics = state["rows"], state["metrics"]
        for name, value in state["totals"].items():
            setattr(self.totals, name, value)
        self.train_losses = [row["train_loss"] for row in self.rows[1:] if row["train_loss"] is not None]
        if self.on_row is not None:
            for row in self.rows:
                self.on_row(row)

    def curve(self) -> pd.DataFrame:
        """One row a step."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS)).astype(COLUMNS)
