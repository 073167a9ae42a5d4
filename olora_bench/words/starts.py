"""Losses beside what inits start from, in words."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis import rows_of
from olora_bench.analysis.starts import FACTS
from olora_bench.words.numbers import interval, number

_MEANING = {
    "a_norm": (1, "`norm of A`: Frobenius."),
    "b_off_orthonormal": (2, "`B from orthonormal`: |BᵀB − I| / √r, 0 where it is and 1 where B is 0."),
    "overlap_right": (2, "`A in W's top`: the share of the space of A's rows in W's top r right singular directions."),
    "overlap_left": (2, "`B in W's top`: that of B's columns in the left ones, none where B is 0."),
    "first_loss_jump": (3, "`first loss`: of the first batch before any step."),
}
"""A fact's decimals in a printed table, and what it means."""
_CAUTION = "What goes together here may have another cause."


def _known(rows: pd.DataFrame) -> list[str]:
    return [fact for fact in _MEANING if rows[fact].notna().any()]


def caption(rows: pd.DataFrame) -> list[str]:
    """What a figure of losses beside starts shows, in sentences. `rows` are drawn."""
    facts = " ".join(_MEANING[fact][1].replace("`", "") for fact in _known(rows))
    return [
        f"Left: held-out loss of each arm less {rows['reference'].iloc[0]}'s, with its 95% interval of one look, not corrected. Beside it, "
        f"of the same arms before training, means over layers and runs. {facts[:1].upper()}{facts[1:]} {_CAUTION}",
    ]


def legend(rows: pd.DataFrame) -> str:
    """What the columns of `table` are."""
    facts = " ".join(_MEANING[fact][1] for fact in _known(rows))
    return (
        "Losses in nats, each over its own pairs' seeds; intervals of one look, not corrected. The rest is of the arms before training, "
        f"means over layers and runs. {facts} {_CAUTION}"
    )


def table(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows, by difference, of the table `starts` of one model, rank, setting and learning rate. A fact that no arm has takes no
    column."""
    facts = _known(rows)
    header = ["arm", f"loss − {rows['reference'].iloc[0]}'s", "95% interval", "held-out loss", "seeds"]
    return [*header, *(FACTS[fact].heading for fact in facts)], [
        [row["arm"], number(row["difference"], digits=3, sign=True), interval(row["low"], row["high"], digits=3),
         number(row["loss"], digits=3), str(row["seeds"]),
         *(number(row[fact], digits=_MEANING[fact][0], sign=fact == "first_loss_jump") for fact in facts)]
        for row in rows_of(rows.sort_values("difference", kind="stable"))
    ]  # fmt: skip
