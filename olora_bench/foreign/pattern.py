"""Paths with named fields, such as `runs/{arm}/lr{lr}/seed{seed}`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from olora_bench.errors import BadInput

FIELDS = {"seed": r"\d{1,18}", "lr": r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+", "rank": r"\d{1,9}", "arm": r"[^/]+?", "base": r"[^/]+?"}
"""The fields that a pattern may name, with what each matches; none reaches over a `/`."""
_PIECE = re.compile(r"\{(\w*)\}|(\*\*)|(\*)")
SEED = re.compile(r"(?:^|[/_.-])(?:seed|s)[_=-]?(\d{1,18})(?=$|[/_.-])", re.IGNORECASE)
"""Where a path's seed stands if no pattern says otherwise: `seed3`, `seed_3`, `seed=3`, `s3`."""


def compiled(pattern: str, needed: Iterable[str] = ()) -> re.Pattern[str]:
    """A pattern as an expression for whole paths, or for parts of one (between two `/`).

    Raises:
        BadInput: a field is not known, named twice, or a needed one is missing.
    """
    parts, at, seen = [], 0, list[str]()
    for piece in _PIECE.finditer(pattern):
        parts.append(re.escape(pattern[at : piece.start()]))
        at = piece.end()
        if piece[2] or piece[3]:
            parts.append(".*" if piece[2] else "[^/]*")
            continue
        name = piece[1]
        if name not in FIELDS or name in seen:
            what = "stands there twice" if name in seen else "is no field"
            raise BadInput(f"pattern {pattern!r}: {{{name}}} {what}. Fields, each once: {', '.join(f'{{{one}}}' for one in FIELDS)}")
        seen.append(name)
        parts.append(f"(?P<{name}>{FIELDS[name]})")
    if absent := [name for name in needed if name not in seen]:
        raise BadInput(f"pattern {pattern!r}: {{{absent[0]}}} is missing. Write it where {absent[0]} stands in the path")
    return re.compile("".join([*parts, re.escape(pattern[at:])]))


def seed_in(path: str, pattern: str | None) -> int | None:
    """The seed that a path names, the last one where there are several; None where there is none.

    >>> seed_in("runs/olora/seed3/results.json", None), seed_in("a/run-7/results.json", "run-{seed}"), seed_in("a/b", None)
    (3, 7, None)
    """
    if pattern is None:
        found = SEED.findall(path)
        return int(found[-1]) if found else None
    inside = re.compile(rf"(?:^|/){compiled(pattern, ('seed',)).pattern}(?=$|/|\.)")
    fields = [match["seed"] for match in inside.finditer(path)]
    return int(fields[-1]) if fields else None
