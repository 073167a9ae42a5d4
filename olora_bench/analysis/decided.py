"""Which contrasts a study need not go on for: asked after a look, of the records there are by then."""

from __future__ import annotations

from dataclasses import dataclass

from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.looked import at_looks
from olora_bench.analysis.pairs import pairs


@dataclass(frozen=True)
class AfterLooks:
    """A contrast that carries a verdict, after its looks so far.

    `seeds`: a model, at the look that decided it; None while it is open. `next`: that its next look needs; None where it needs none, since
    it is decided, lost or has had its last.
    """

    arm: str
    reference: str
    seeds: int | None
    next: int | None


def after_looks(frames: StudyFrames) -> list[AfterLooks]:
    """How each contrast that carries a verdict stands; with several shared learning rates it is decided when it is at each of them.

    One with a diverged pair of what carries its verdict is lost: it stays unresolved whatever comes.
    """
    table = pairs(frames)
    lost = table[table["confirmatory"].astype(bool) & (table["pair"] == "diverged")]
    apart = set(zip(lost["arm"], lost["reference"], strict=True))
    found: dict[tuple[str, str], AfterLooks] = {}
    for one in at_looks(frames, table, seed_differences(frames, table)):
        key = one.comparison.arm, one.comparison.reference
        mine = AfterLooks(*key, one.seeds if one.said.decided else None, None if key in apart else one.next)
        found[key] = _later(found.get(key, mine), mine)
    return list(found.values())


def _later(one: AfterLooks, other: AfterLooks) -> AfterLooks:
    """The two as one: open where either is."""
    seeds = None if one.seeds is None or other.seeds is None else max(one.seeds, other.seeds)
    waits = [each.next for each in (one, other) if each.next is not None]
    return AfterLooks(one.arm, one.reference, seeds, min(waits, default=None))


def decided(frames: StudyFrames) -> set[tuple[str, str]]:
    """The contrasts (arm, reference) that further seeds cannot change."""
    return {(one.arm, one.reference) for one in after_looks(frames) if one.next is None}
