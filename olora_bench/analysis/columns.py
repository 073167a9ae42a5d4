"""Columns that many tables share, described once."""

from __future__ import annotations

from olora_bench.analysis.described import Column

COMPARISON_COLUMNS = (
    Column("contrast", "the two arms, as `arm vs reference`", heading="contrast"),
    Column("kind", "`primary` or `secondary`, as the study declares the contrast"),
    Column(
        "role",
        "`tuned`: each arm at its own learning rate; `shared`: one learning rate for both; `given`: imported, as they came",
        heading="protocol",
    ),
    Column("arm", "the arm that is compared"),
    Column("reference", "the arm that it is compared with"),
    Column("confirmatory", "whether the comparison carries a verdict: primary, under the study's protocol"),
    Column("lr_reference", "the shared learning rate; empty under `tuned`, where it differs from cell to cell, and `given`"),
    Column("lr_arm", "the shared learning rate; empty under `tuned` and `given`", heading="shared lr", form="rate"),
)
"""Which comparison a row belongs to."""

CELL_COLUMNS = (
    Column("cell", "the id of what the compared runs share: all but arm, learning rate and seed"),
    Column("family", "the id of cells that differ in the length of training alone"),
    Column("model", "the base model", heading="model"),
    Column("rank", "the adapter's rank", heading="rank"),
    Column("setting", "what else tells cells of one model and rank apart, in words", heading="setting"),
    Column("longest", "whether no cell of the family trains longer: only such cells enter a verdict"),
)
"""Which cell a row belongs to."""

PLACE = ["model", "rank", "setting"]
"""What names a cell for a reader."""
SETTING_COLUMNS = tuple(column for column in CELL_COLUMNS if column.name not in ("cell", "family"))
ARM = Column("arm", "the arm", heading="arm")
RUNS = Column("runs", "the train_ids behind the row, separated by spaces")
REASONS = Column("reasons", "why there is no verdict, or what limits the number", heading="note")


def interval(unit: str, form: str) -> tuple[Column, Column, Column]:
    """The columns of a paired t over seeds: the ends of its interval and what it could have found."""
    low = "lower end of the 95% interval, by a paired t over seeds; empty below 3 seeds or where all agree"
    found = "the smallest effect that so many seeds find with 80% power"
    return (
        Column("low", low, unit, "low", form),
        Column("high", "upper end of that interval", unit, "high", form),
        Column("detectable", found, unit, "detectable", form.removesuffix(" signed")),
    )
