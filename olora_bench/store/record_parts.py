"""The files beside a record that belong to it: named after the lease that wrote them, checked against the digests in the record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from olora_bench.errors import RecordError
from olora_bench.formats import read_regular
from olora_bench.store.atomic import atomic_write
from olora_bench.store.lease import Lease
from olora_bench.store.record import RESTORE, Part
from olora_bench.store.sealed import sha256

PartKind = Literal["curve", "adapter", "examples", "items", "generations"]
SUFFIX: dict[PartKind, str] = {kind: "safetensors" if kind == "adapter" else "parquet" for kind in get_args(PartKind)}
ALWAYS_KEPT: tuple[PartKind, ...] = ("curve", "examples", "items")
"""Adapters and generated texts may be left behind when results are copied or published."""
_OF_A_LEASE = re.compile(rf"(?:{'|'.join(SUFFIX)})\.[0-9a-f]{{12}}\.(?:parquet|safetensors)")
Stamp = tuple[int, int, int]
_SOUND: dict[str, tuple[Stamp, str]] = {}
"""Files whose bytes this process has compared with their digest: path -> (stamp, digest)."""


def write_part(folder: Path, kind: PartKind, content: bytes, held: Lease | None) -> Part:
    """Write a part under the lease's token; under no lease it has a plain name, e.g. `curve.parquet`.

    Raises:
        LeaseLost: the lease was taken over.
        StoreError: the system refuses.
    """
    part = Part.of(f"{kind}.{SUFFIX[kind]}" if held is None else f"{kind}.{held.token}.{SUFFIX[kind]}", content)
    (atomic_write if held is None else held.publish)(folder / part.file, content)
    return part


def read_part(folder: Path, part: Part) -> bytes | None:
    """A part's bytes, or None where it does not lie there.

    Raises:
        RecordError: they are not those that the record names.
    """
    path = folder / part.file
    read = read_stamped(path)
    if read is None:
        return None
    stamp, content = read
    if (found := sha256(content)) != part.sha256:
        raise RecordError(f"{path}: damaged: its SHA-256 is {found[:12]}..., its record says {part.sha256[:12]}.... {RESTORE}")
    _SOUND[str(path)] = (stamp, part.sha256)
    return content


def read_stamped(path: Path) -> tuple[Stamp, bytes] | None:
    """A file's bytes with the stamp it had before they were read, or None where there is no such file.

    Raises:
        RecordError: the system refuses, or something else than a regular file lies there.
    """
    try:
        return stamp_of(path), read_regular(path)
    except (FileNotFoundError, NotADirectoryError):  # below a regular file there is nothing; writing there is refused in its own words
        return None
    except OSError as error:
        raise cannot_read(path, error) from error


def stamp_of(path: Path) -> Stamp:
    """Size, mtime (ns) and inode of a file: the same while nobody touches it."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def lacks(folder: Path, parts: Mapping[PartKind, Part]) -> bool:
    """Whether a part is gone that is always kept."""
    return any(kind in ALWAYS_KEPT and not lies_there(folder / part.file) for kind, part in parts.items())


def lies_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        RecordError: the system does not say.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(path, error) from error
    return True


def cannot_read(path: Path, error: OSError) -> RecordError:
    """The system's reason for a failed read, with the path."""
    return RecordError(f"{path}: cannot be read: {error.strerror or error}")


def damage(folder: Path, parts: Mapping[PartKind, Part], *, thorough: bool) -> str | None:
    """What is wrong with the parts that lie there, or None. A file is read once a process, and again when it was touched.

    Args:
        thorough: read adapters too; else only what tables are made of.
    """
    for kind, part in parts.items():
        if kind != "adapter" or thorough:
            try:
                _check(folder, part)
            except RecordError as error:
                return str(error)
    return None


def _check(folder: Path, part: Part) -> None:
    path = folder / part.file
    try:
        known = (stamp_of(path), part.sha256)
    except OSError:
        return
    if _SOUND.get(str(path)) != known:
        read_part(folder, part)


def damaged(folder: Path, parts: Mapping[PartKind, Part]) -> list[Path]:
    """The parts that lie there and are not what their record says; where one is an adapter, its record too, so that it is trained again."""
    wrong = {kind: folder / part.file for kind, part in parts.items() if damage(folder, {kind: part}, thorough=True)}
    return [*wrong.values(), *([folder / "record.json"] if "adapter" in wrong else [])]


def orphans(folder: Path, parts: Mapping[PartKind, Part]) -> list[Path]:
    """Files that a lease's holder wrote as parts and that the record, with these parts, does not name."""
    named = {part.file for part in parts.values()}
    return [path for path in entries(folder) if path.name not in named and _OF_A_LEASE.fullmatch(path.name)]


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in order; nothing where there is no such folder.

    Raises:
        RecordError: the system refuses.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot_read(folder, error) from error
