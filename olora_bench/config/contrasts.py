"""Which contrasts a study may declare, its own runs' or imported ones."""

from __future__ import annotations

from collections.abc import Sequence


def check_pairs(key: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Check contrasts, each (arm, reference): one declared twice would have its pairs, and the family, doubled.

    Raises:
        ValueError: an arm is compared with itself, or two arms twice, either way round; names `key` and the pair.
    """
    arms = [frozenset(pair) for pair in pairs]
    for pair, one in zip(pairs, arms, strict=True):
        if len(one) == 1 or arms.count(one) > 1:
            raise ValueError(f"{key}: {' against '.join(pair)} is no comparison, or stands there twice: two arms, each pair once")
