"""A cache of folders that are either whole or not there, with the SHA-256 of every file in them.

A folder is written beside its place, synced, and renamed into it. A process killed at any moment leaves a `.tmp` folder that the next one
sweeps away.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from olora_bench.errors import StoreError
from olora_bench.formats import Unreadable, read_json
from olora_bench.process.progress import Progress, say, size
from olora_bench.store import is_whole, sealed

MANIFEST = "manifest.json"
_BLOCK = 1 << 22
_SAY_ABOVE = 1 << 30


class Place(NamedTuple):
    """A folder of the cache, and what it is made from: another `spec` in its manifest makes it stale."""

    folder: Path
    spec: Mapping[str, JsonValue]


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits. Above 1 GiB it says how far it is."""
    digest = hashlib.sha256()
    total = path.stat().st_size
    progress = Progress(f"checking {path.name}", total, unit="bytes") if total > _SAY_ABOVE else None
    with path.open("rb") as file, progress or contextlib.nullcontext():
        while block := file.read(_BLOCK):
            digest.update(block)
            if progress:
                progress.advance(len(block))
    return digest.hexdigest()


_HERE: dict[str, tuple[tuple[int, ...], str]] = {}


def sha256_here(path: Path) -> str:
    """`sha256`, once a process for as long as the file is untouched: for what lies in our own cache."""
    stat = path.stat()
    touched = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    known = _HERE.get(str(path))
    if known is None or known[0] != touched:
        known = _HERE[str(path)] = (touched, sha256(path))
    return known[1]


def known_sha256(path: Path, cache_dir: Path) -> str:
    """SHA-256 of a file of the user's, remembered in `cache_dir` for as long as its size and modification time stay."""
    path = path.resolve()
    memory = cache_dir / "digests.json"
    known = _remembered(memory)
    stat = path.stat()
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
        return str(entry[2])
    digest = sha256(path)
    known[str(path)] = [stat.st_size, stat.st_mtime_ns, digest]
    # Only a memory: where it cannot be written, the file is read again next time.
    with contextlib.suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f".{memory.name}.{os.getpid()}.tmp")
        temporary.write_bytes(sealed(known))
        temporary.replace(memory)
    return digest


def _remembered(memory: Path) -> dict[str, JsonValue]:
    try:
        known = read_json(memory)
    except Unreadable:
        return {}
    return {path: entry for path, entry in known.items() if path != "digest"} if isinstance(known, dict) and is_whole(known) else {}


def problem(folder: Path, spec: Mapping[str, JsonValue], *, read_files: bool) -> str | None:
    """What is wrong with a cached folder, or None.

    Args:
        spec: what the folder was to be made from; another one in its manifest makes it stale.
        read_files: also read every file and compare its SHA-256; else only names and sizes are looked at.
    """
    if not folder.is_dir():
        return "not in the cache"
    try:
        manifest = read_json(folder / MANIFEST)
        made_from, files = manifest["spec"], dict(manifest["files"])
        listed = {str(name): (int(length), str(digest)) for name, (length, digest) in files.items()}
    except (Unreadable, ValueError, KeyError, TypeError):
        return f"its {MANIFEST} in the cache is missing or corrupt"
    if made_from != spec:
        return "the copy in the cache was made from another source or by other code"
    for name, (length, digest) in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing from the cache"
        if path.stat().st_size != length:
            return f"{name} in the cache is corrupt ({size(path.stat().st_size)} instead of {size(length)})"
        if read_files and (found := sha256_here(path)) != digest:
            return f"{name} in the cache is corrupt (SHA-256 {found[:12]}... instead of {digest[:12]}...)"
    return None


def publish(folder: Path, spec: Mapping[str, JsonValue], write: Callable[[Path], None]) -> None:
    """Make `folder` with what `write` puts into the folder it is given; readers see all of it or none.

    Raises:
        StoreError: the disk is full or the cache cannot be written; names the path and the reason.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        files = {p.name: [p.stat().st_size, sha256(p)] for p in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps({"spec": spec, "files": files}, indent=1), encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error for a cache that cannot be written."""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}. Free space there, or set machine.cache_dir to a folder that can be written"
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def filling(cache_dir: Path) -> Iterator[None]:
    """Hold the cache for writing and sweep away what killed processes left. The system frees the hold of a process that dies.

    Raises:
        StoreError: the cache folder cannot be written.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        file = (cache_dir / ".lock").open("a")
    except OSError as error:
        raise cannot_write(cache_dir, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"assets: another process is filling {cache_dir}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        _sweep(cache_dir)
        yield


def _sweep(cache_dir: Path) -> None:
    # The writers of these are dead: only the holder of the lock writes below these folders.
    for place in ("downloads", "packaged", "rows"):
        for left in (cache_dir / place).rglob("*.tmp"):
            if left.is_dir():
                say(f"assets: an interrupted start left {left.name} in the cache; removing it")
                shutil.rmtree(left, ignore_errors=True)
