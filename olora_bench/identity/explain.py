"""Two identities told apart in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One value that went into both ids and is not the same in them."""

    key: str
    left: object
    right: object

    def __str__(self) -> str:
        return f"{self.key}: {self.left!r} -> {self.right!r}"


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts, by dotted key.

    >>> list(flat({"a": {"b": 1}, "c": [2]}))
    [('a.b', 1), ('c', [2])]
    """
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from flat(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def differences(left: object, right: object) -> list[Difference]:
    """Every value that two identities do not share, by dotted key in order.

    >>> [str(d) for d in differences({"lr": 1e-3, "seed": 0}, {"lr": 3e-4, "seed": 0})]
    ['lr: 0.001 -> 0.0003']
    """
    a, b = dict(flat(left)), dict(flat(right))
    keys = sorted(a.keys() | b.keys())
    return [Difference(k, a.get(k, ABSENT), b.get(k, ABSENT)) for k in keys if a.get(k, ABSENT) != b.get(k, ABSENT)]


def explain(identity: Mapping[str, object], other: Mapping[str, object] | None = None) -> str:
    """What went into an id, one value a line; against another, only what differs."""
    if other is None:
        rows = dict(flat(identity))
        width = max(map(len, rows))
        return "\n".join(f"{key:<{width}}  {value}" for key, value in sorted(rows.items()))
    found = differences(identity, other)
    return "\n".join(map(str, found)) if found else "no difference: the same identity"
