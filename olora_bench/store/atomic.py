"""Whole files or none: what a reader can see is never half-written, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from olora_bench.errors import StoreError

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


def atomic_write(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that others see the old content or the new one, also after `kill -9`.

    A temporary file in the same folder, flush, fsync, rename, fsync of the folder. Missing folders are created.

    Args:
        path: the file to create or replace.
        content: the bytes, or a function that writes them to the open file it is given.

    Raises:
        StoreError: the system refuses (disk full, folder not writable); nothing is left behind.
    """
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        with _created(temporary) as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed writers left below a folder. Only for whoever holds the folder's lease."""
    for leftover in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()


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
