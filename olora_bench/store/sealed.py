"""JSON that notices its own damage: its field `digest` is the SHA-256 of the canonical JSON of all the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

FIELD = "digest"


def sealed(fields: Mapping[str, object]) -> bytes:
    """An object as it lies on disk: JSON, one field a line, the digest last, ended by a newline. A digest among `fields` is replaced."""
    rest = _rest(fields)
    return (json.dumps({**rest, FIELD: digest_of(rest)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_of(value: object) -> str:
    """SHA-256, as 64 hex digits, of a value's canonical JSON: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def is_whole(fields: Mapping[str, object]) -> bool:
    """Whether an object that was read is the one that was sealed."""
    return fields.get(FIELD) == digest_of(_rest(fields))


def _rest(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != FIELD}


def sha256(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
