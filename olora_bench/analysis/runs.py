"""The runs of a study: what each is for, and the table that lists them."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.columns import ARM, CELL_COLUMNS
from olora_bench.analysis.described import Column, Table, View

REPORTED = ("shared", "tuned")
"""The roles whose runs enter tables of results; `tuning` ones only choose a learning rate."""


def roles_of(roles: str) -> tuple[str, ...]:
    """What a run is for, from its column `roles`.

    >>> roles_of("tuning shared")
    ('tuning', 'shared')
    """
    return tuple(roles.split())


def has_role(runs: pd.DataFrame, *roles: str) -> pd.Series[bool]:
    """Which rows of a table of runs are there for any of these roles: `(rows,)` bool."""
    return runs["roles"].map(lambda text: not set(roles).isdisjoint(roles_of(text))).astype(bool)


def with_role(runs: pd.DataFrame, *roles: str) -> pd.DataFrame:
    """The rows of a table of runs that are there for any of these roles."""
    return runs[has_role(runs, *roles)]


AS_BLOCK = ["cell", "arm", "seed"]
"""What the finalists of which one is kept share."""


def at_chosen_rate(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with, in place of a kept finalist's own learning rate, the one that its search chose: that of all blocks of its arm and cell."""
    middle = with_role(runs, "finalist").groupby(AS_BLOCK)["lr"].median()
    chosen = pd.Series(pd.MultiIndex.from_frame(runs[AS_BLOCK]).map(middle.to_dict()), index=runs.index, dtype=float)
    return runs.assign(lr=chosen.where(has_role(runs, "finalist"), runs["lr"]))


ROLES = Column("roles", "what the run is for: shared and tuned runs are reported, tuning runs choose a learning rate, and of the finalist "
               "runs of a seed the tuned one is kept", heading="for")  # fmt: skip

RUN_TABLE = Table(
    "runs",
    "a run of the study; further columns hold every number of its record by its dotted name (`metrics.`, `timings_s.`, `init.`, `cost.`, "
    "`generation.`) and the machine and packages that it ran on",
    (
        Column("train_id", "the run's id", heading="run"),
        *CELL_COLUMNS[2:5],
        ARM,
        Column("lr", "learning rate (of A, where the arm has a ratio)", heading="lr", form="rate"),
        Column("lr_ratio", "learning rate of B over that of A", heading="lr ratio", form="3 digits"),
        Column("seed", "the seed of adapter, order and dropout", heading="seed"),
        ROLES,
        Column("state", "done, running, failed, diverged, missing or unreadable", heading="state"),
        Column("metrics.report_loss_start", "held-out loss before training", "nats", "loss before", "3 digits"),
        Column("metrics.report_loss", "held-out loss after training", "nats", "loss after", "3 digits"),
        Column("timings_s.optimise", "time of optimising", "s", "train s", "number"),
        Column("tokens_per_s", "tokens that went through the model", "tokens/s", "tokens/s", "whole"),
        Column("steps", "optimiser steps done", "", "steps", "whole"),
        Column("clipped_step_share", "share of steps whose gradient was clipped", "", "clipped steps", "2 digits"),
        Column("eval_state", "of its scores: done, failed, missing, unreadable, or none (no suite)", heading="scores"),
        Column("reason", "why it is not done", heading="reason"),
    ),
)

RUN_VIEW = View(
    "runs",
    "Every run",
    "Every run of the study, with its record's main figures: losses in nats per supervised token, train time in seconds.",
    RUN_TABLE,
)
