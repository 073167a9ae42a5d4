"""Which contrasts a study need not go on for: asked after a look, of the records there are by then."""

from __future__ import annotations

from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.pairs import pairs


def decided(frames: StudyFrames) -> set[tuple[str, str]]:
    """The declared contrasts (arm, reference) that further seeds cannot change.

    One with a diverged pair of what carries its verdict stays unresolved whatever comes.
    """
    table = pairs(frames)
    lost = table[table["confirmatory"].astype(bool) & (table["pair"] == "diverged")]
    return set(zip(lost["arm"], lost["reference"], strict=True))
