"""JSON that notices its own damage: its field `digest` is the SHA-256 of the canonical JSON of all the others."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
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


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; anything else (a pipe, a device) would hang or never end.

    Raises:
        OSError: there is no such file, or it is no regular one.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{'Is a directory' if path.is_dir() else 'no regular file'}")
        return file.read()
