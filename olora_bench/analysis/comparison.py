"""What is compared with what: one value that finds its own rows in every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from olora_bench.analysis.frames import rows_of

KEYS = ["contrast", "role", "lr_arm"]
"""The columns that tell one comparison from another; every table about comparisons has them."""

BLOCK = ["model", "seed"]
"""Runs of one model and one seed share data order and base: they are exchanged as a whole."""


class Block(NamedTuple):
    """The runs of one model and one seed."""

    model: str
    seed: int


@dataclass(frozen=True)
class Comparison:
    """An arm against its reference under one protocol.

    Attributes:
        arm, reference: names of arms.
        kind: `primary` or `secondary`, as the study declares the contrast.
        role: `tuned` (each arm at its own rate), `shared` (one learning rate for both; each is a comparison of its own) or `given` (runs
            that were imported, each arm at the rate that it came with).
        confirmatory: whether it carries a verdict: primary, and of the role that the study's protocol judges by.
        lr: the learning rate of a shared comparison; None of a tuned one, where it differs from cell to cell, and of one without runs.
    """

    arm: str
    reference: str
    kind: str
    role: str
    confirmatory: bool
    lr: float | None

    @property
    def contrast(self) -> str:
        """E.g. `olora vs lora`."""
        return f"{self.arm} vs {self.reference}"

    @property
    def columns(self) -> dict[str, str | bool | float]:
        """What a row about it says in the columns `columns.COMPARISON_COLUMNS`."""
        lr = float("nan") if self.lr is None else self.lr
        return {
            "contrast": self.contrast, "kind": self.kind, "role": self.role, "arm": self.arm, "reference": self.reference,
            "confirmatory": self.confirmatory, "lr_reference": lr, "lr_arm": lr,
        }  # fmt: skip

    @classmethod
    def of_row(cls, row: Mapping[str, object]) -> Comparison:
        """The comparison that a row of any table about comparisons belongs to."""
        lr = row["lr_arm"]
        known = isinstance(lr, (int, float)) and lr == lr and row["role"] == "shared"
        return cls(str(row["arm"]), str(row["reference"]), str(row["kind"]), str(row["role"]), bool(row["confirmatory"]),
                   float(lr) if known and isinstance(lr, (int, float)) else None)  # fmt: skip

    def rows_in(self, table: pd.DataFrame) -> pd.DataFrame:
        """Its rows of a table about comparisons, in the table's order. Of a tuned one these are rows at any rates."""
        if table.empty:
            return table
        own = (table["contrast"] == self.contrast) & (table["role"] == self.role)
        return table[own if self.lr is None else own & (table["lr_arm"] == self.lr)]


def comparisons(table: pd.DataFrame) -> list[Comparison]:
    """The comparisons of a table, each once, in the order of their first rows."""
    return list(dict.fromkeys(Comparison.of_row(row) for row in rows_of(table.drop_duplicates(KEYS))))
