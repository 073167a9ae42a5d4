"""A run computed again, in words: what it is, what differs, and each number beside the recorded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from olora_bench.identity import differences, explain, title
from olora_bench.report.render import markdown_table

if TYPE_CHECKING:
    from olora_bench.run.again import Again, Compared


def again_text(one: Again) -> str:
    """Identity, provenance and numbers of both records, and whether the run comes out again."""
    record = one.record
    changed = differences(record.provenance, one.found.provenance)
    lines = [
        f"{record.train_id}: {title(one.experiment)}",
        "Identity: no difference." if record.identity == one.found.identity else explain(record.identity, one.found.identity),
        "Provenance: no difference." if not changed else f"Provenance: {'; '.join(map(str, changed))}.",
        "",
        markdown_table(["", "recorded", "again", "allowed", "agrees"], [_cells(row) for row in one.rows]),
        "",
        "" if one.scored else "No scores are recorded for the suite of this run's config: its losses alone were compared.\n",
        "The run comes out again." if one.same else "The run does NOT come out again: see the rows marked NO.",
    ]
    return "\n".join(lines)


def _cells(row: Compared) -> list[str]:
    values = ("none" if value is None else f"{value:.{row.digits}f}" for value in (row.was, row.now))
    return [row.name, *values, f"{row.allowed:.2g}", "yes" if row.agrees else "NO"]
