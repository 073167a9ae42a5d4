"""Which process wrote something, whether it still lives, and what time a file system thinks it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\.(?P<space>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{8}\.tmp$")
_ABANDONED_S = 3600.0


def pid_space() -> str | None:
    """This boot of this machine, and this container on it; None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def pid_start(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None when it is gone (also when only its exit status is left)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it, in brackets, may hold anything
    return None if state in "ZX" else fields[18]


def temporary(path: Path, token: str | None = None) -> Path:
    """A name beside `path` for what becomes it: of the lease `token`, else of this process, so that nobody takes it for a dead one's."""
    if token is None:
        token = f"{_space_digest()}-{os.getpid()}-{pid_start(os.getpid()) or 0}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{token}.tmp")


def abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file is dead, so far as can be known from here; one of a lease is its folder's holder's to judge.

    A process of this machine is looked up; another machine's file is abandoned when it has not changed for an hour.
    """
    found = _NAME.search(path.name)
    if found is None:
        return True
    # By pid and start time: the pid alone may belong to a later process, and its files would then stay for good.
    if found["space"] == _space_digest():
        return pid_start(int(found["pid"])) != found["start"]
    with contextlib.suppress(OSError):
        # By the clock that stamped the file: this machine's may differ, and would remove what a live process of another one writes.
        return file_system_time(path.parent) - path.stat().st_mtime > _ABANDONED_S
    return False


def file_system_time(folder: Path) -> float:
    """Seconds since 1970 by the clock that stamps files in `folder`, a file server's where there is one.

    Raises:
        OSError: nothing can be written there.
    """
    handle, named = _unnamed(folder)
    try:
        os.utime(handle)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        if named is not None:
            with contextlib.suppress(OSError):
                named.unlink()


def _unnamed(folder: Path) -> tuple[int, Path | None]:
    """An open file without a name; with one where the file system has no such files."""
    with contextlib.suppress(OSError, AttributeError):
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600), None
    named = temporary(folder / "clock")
    return os.open(named, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), named


def monotonic() -> float:
    """Seconds on a clock that all processes of one boot share, and that nobody can set."""
    return time.monotonic()


@cache
def _space_digest() -> str:
    return hashlib.sha256((pid_space() or "").encode()).hexdigest()[:8]
