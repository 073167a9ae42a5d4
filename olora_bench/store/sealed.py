"""JSON that notices its own damage: its field `digest` is the SHA-256 of the canonical JSON of all the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FIELD = "digest"


def sealed(fields: Mapping[str, Any]) -> bytes:
    """An object as it lies on disk: JSON, one field a line, the digest last, ended by a newline. A digest among `fields` is replaced."""
    rest = {name: value for name, value in fields.items() if name != FIELD}
    return (json.dumps({**rest, FIELD: digest_of(rest)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_of(fields: Mapping[str, Any]) -> str:
    """SHA-256, as 64 hex digits, of canonical JSON of all fields but the digest."""
    rest = {name: value for name, value in fields.items() if name != FIELD}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def is_whole(fields: Mapping[str, Any]) -> bool:
    """Whether an object that was read is the one that was sealed."""
    return fields.get(FIELD) == digest_of(fields)


def sha256(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
