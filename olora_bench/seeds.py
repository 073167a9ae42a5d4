"""One integer seed, many independent streams. Changing what one stream draws never moves another."""

from __future__ import annotations

import hashlib

STREAMS = ("adapter", "data_order", "dropout", "generation", "bootstrap", "split", "limit", "made_up", "mixture", "block")


def derive(seed: int, stream: str) -> int:
    """The seed of a named stream: a 63-bit integer from SHA-256 of (seed, stream).

    Raises:
        ValueError: `stream` is not one of `STREAMS`.

    >>> derive(0, "adapter") != derive(0, "data_order")
    True
    """
    if stream not in STREAMS:
        raise ValueError(f"unknown random stream {stream!r}. Allowed: {', '.join(STREAMS)}")
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "big") >> 1
