"""Whole files or none: what a reader can see is never half-written, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from olora_bench.errors import StoreError
from olora_bench.store.writer import abandoned, temporary

LEASE = "lease.json"
"""The file that says who works on a folder."""

Content = bytes | Callable[[BinaryIO], object]
_ELSEWHERE = "choose a folder you can write with machine.results_dir=... or OLORA_BENCH_RESULTS"
_REMEDIES = {
    errno.ENOSPC: "free space there, then give the same command again",
    errno.EDQUOT: "free space there, then give the same command again",
    errno.EFBIG: "raise the file size limit (`ulimit -f`), then give the same command again",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EEXIST: _ELSEWHERE,
}
# Some network file systems cannot fsync a folder; the file itself is already safe by then.
_NO_FOLDER_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The system's reason for a failed write, with the path and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "put that right, then give the same command again")
    return StoreError(f"cannot write {path}: {reason}. Nothing there was changed; {remedy}")


def make_folder(path: Path) -> None:
    """Create a folder and those above it.

    Raises:
        StoreError: the system refuses, e.g. because a regular file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def atomic_write(path: Path, content: Content) -> None:
    """Write a file so that others see the old content or the new one, also after `kill -9`.

    A temporary file in the same folder, flush, fsync, rename, fsync of the folder. Missing folders are created.

    Args:
        path: the file to create or replace.
        content: the bytes, or a function that writes them to the open file it is given.

    Raises:
        StoreError: the system refuses (disk full, folder not writable); nothing is left behind.
    """
    with written(path, content) as whole:
        whole.replace(path)


@contextlib.contextmanager
def written(path: Path, content: Content, token: str | None = None) -> Iterator[Path]:
    """The temporary file of an `atomic_write`, on disk whole; the caller renames it to `path`, or leaves it to be removed.

    Args:
        token: of the lease that the file is written under; None for one of this process alone.

    Raises:
        StoreError: the system refuses, also inside the block.
    """
    make_folder(path.parent)
    whole = temporary(path, token)
    try:
        with _created(whole) as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield whole
        _fsync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            whole.unlink(missing_ok=True)


def leftovers(folder: Path, ours: str | None = None, *, deep: bool = True) -> list[Path]:
    """The temporary files in a folder, and with `deep` below it, whose writers are dead, or held a lease of it before `ours`.

    A folder below that has a lease of its own is its holder's to clear.
    """
    found: list[Path] = []
    for place, below, names in os.walk(folder):  # what cannot be listed now is for another time
        if LEASE in names and Path(place) != folder:
            below.clear()
            continue
        temporary_ones = [Path(place, name) for name in names if name.startswith(".") and name.endswith(".tmp")]
        found += [path for path in temporary_ones if not (ours and f".{ours}." in path.name) and abandoned(path)]
        if not deep:
            below.clear()
    return found


def _created(path: Path) -> BinaryIO:
    # Not tempfile.mkstemp: it makes files that only their owner can read, and results are shared.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(handle)
