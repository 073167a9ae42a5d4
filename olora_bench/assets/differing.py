"""Lists and objects of which one is of another kind inside than those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def differing(values: Sequence[Any]) -> tuple[str, Any, type] | None:
    """The first thing inside of another kind than before: its name, its value, and the type of what stood there first.

    >>> differing([[{"content": "a"}], [{"content": ["b"]}]])
    ('content', ['b'], <class 'str'>)
    """
    before: dict[str, type] = {}
    for name, value in (found for one in values for found in _inside(one, "entry")):
        kind = before.setdefault(name, type(value))
        if type(value) is not kind and {kind, type(value)} != {int, float}:
            return name, value, kind
    return None


def _inside(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    entries = value.items() if isinstance(value, dict) else [(name, one) for one in value] if isinstance(value, list) else []
    for key, one in entries:
        if one is not None:
            yield key, one
            yield from _inside(one, f"{key}'s entry" if isinstance(one, list) else key)
