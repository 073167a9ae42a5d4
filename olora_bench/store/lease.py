"""Who is working in a folder. A lease is a small file with a heartbeat; a dead holder's lease is taken over, a live one's never.

The heartbeat is the file's modification time, set through the holder's open file: a holder that was thought dead and wakes up again can
then never overwrite the lease of who took over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from olora_bench.errors import BadInput, RecordError
from olora_bench.formats import Unreadable, read_json
from olora_bench.progress import say
from olora_bench.store.atomic import cannot_write, make_folder, remove_leftovers
from olora_bench.store.record import utc_now

FILE_NAME = "lease.json"
LOCK_NAME = "lease.lock.tmp"
HEARTBEAT_S = 10.0
DEAD_AFTER_S = 60.0
_POLL_S = 0.5

# File systems without locks (some Lustre mounts): two takers of one dead lease could both win there. They write the same record, so go on.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. `pid_space` tells machines, boots and containers apart, `pid_start` one process from a later one with its pid.

    `since` is ISO 8601 UTC; `heartbeat` seconds since 1970. All but the heartbeat are null when the file was cut off as it was made.
    `crashes` counts the holders before this one, in a row, that died without giving the lease back and got nowhere.
    """

    host: str | None
    pid_space: str | None
    pid: int | None
    pid_start: str | None
    since: str | None
    heartbeat: float
    crashes: int = 0

    def alive(self, dead_after_s: float = DEAD_AFTER_S) -> bool:
        """False when the heartbeat is older than `dead_after_s` seconds, or the process is known to be gone."""
        if time.time() - self.heartbeat > dead_after_s:
            return False
        if self.pid is None or self.pid_space is None or self.pid_space != _pid_space():
            return True  # another machine, or another container: only the heartbeat can tell
        return _pid_start(self.pid) == self.pid_start


class LeaseHeld(BadInput):
    """The folder is being worked in by a live process. `holder` says which."""

    def __init__(self, folder: Path, holder: Holder, dead_after_s: float) -> None:
        self.holder = holder
        who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder.pid is not None else "a process that starts right now"
        age = max(0.0, time.time() - holder.heartbeat)
        super().__init__(
            f"{folder} is being worked on by {who} (last heartbeat {age:.0f} s ago). "
            "Wait for it, or stop it and give the same command again: "
            f"its lease ends with it, or else {dead_after_s:.0f} s after its last heartbeat"
        )


@dataclass
class Lease:
    """A lease that is held. `lost` becomes true when another process took it over, having thought this one dead."""

    path: Path
    handle: int
    holder: Holder
    lost: bool = False

    @property
    def crashes(self) -> int:
        """How many holders before this one, in a row, died without giving the lease back and without `progressed`."""
        return self.holder.crashes

    def progressed(self) -> None:
        """Something was kept that the next holder goes on from: should this one die, it is the first in the row."""
        if self.crashes:
            self.holder = replace(self.holder, crashes=0)
            with contextlib.suppress(OSError):
                _write(self.handle, self.holder)

    def beat(self) -> None:
        """Renew the heartbeat, or notice that the lease was lost."""
        if not _same_file(self.handle, self.path):
            self.lost = True
        else:
            with contextlib.suppress(OSError):  # a server that does not answer now may at the next beat
                os.utime(self.handle)


@contextlib.contextmanager
def lease(folder: Path, heartbeat_s: float = HEARTBEAT_S, dead_after_s: float = DEAD_AFTER_S, *, wait: bool = False) -> Iterator[Lease]:
    """Hold a folder for the time of a `with` block; a thread renews the heartbeat. The folder is created if need be.

    Temporary files that killed writers left below the folder are removed.

    Args:
        folder: the run's folder.
        heartbeat_s: seconds between heartbeats.
        dead_after_s: a lease whose heartbeat is older than this is taken over; much more than `heartbeat_s`.
        wait: wait until a live holder is done, instead of raising; says once for whom.

    Raises:
        LeaseHeld: a live process holds it, and `wait` is false; names host, process and since when.
        StoreError: the system refuses to write.
    """
    make_folder(folder)
    held = _acquire_in_turn(folder, dead_after_s) if wait else _acquire(folder, dead_after_s)
    stop = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(held, stop, heartbeat_s), name=f"lease {folder.name}", daemon=True)
    try:
        remove_leftovers(folder)
        thread.start()
        yield held
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()
        _release(held)


def read_lease(folder: Path) -> Holder | None:
    """Who holds a folder's lease, dead or alive; None when nobody does."""
    path = folder / FILE_NAME
    try:
        heartbeat = path.stat().st_mtime
        fields = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Unreadable:
        fields = {}
    return None if fields is None else _holder(fields, heartbeat)


def _holder(fields: Any, heartbeat: float) -> Holder:
    """Who a lease names; nobody by name where it was cut off or holds something else."""
    try:
        held = Holder(**fields, heartbeat=heartbeat)
        texts = (held.host, held.pid_space, held.pid_start, held.since)
        if all(text is None or isinstance(text, str) for text in texts) and type(held.pid) is type(held.crashes) is int:
            datetime.fromisoformat(held.since or "")
            return held
    except (ValueError, TypeError):
        pass
    return Holder(None, None, None, None, None, heartbeat)


def has_leftovers(folder: Path) -> bool:
    """Whether a lease, dead or alive, or temporary files lie in a folder: what holding its lease and giving it back removes."""
    return (folder / FILE_NAME).exists() or (folder / LOCK_NAME).exists() or any(folder.rglob(".*.tmp"))


def _acquire_in_turn(folder: Path, dead_after_s: float) -> Lease:
    said = False
    while True:
        try:
            return _acquire(folder, dead_after_s)
        except LeaseHeld as held:
            if not said:
                say(f"waiting: {held}")
                said = True
            time.sleep(_POLL_S)


def _acquire(folder: Path, dead_after_s: float) -> Lease:
    path = folder / FILE_NAME
    try:
        with _locked(folder):
            holder = read_lease(folder)
            if holder is not None and holder.alive(dead_after_s):
                raise LeaseHeld(folder, holder, dead_after_s)
            path.unlink(missing_ok=True)
            return _create(path, 0 if holder is None else holder.crashes + 1)
    except FileExistsError:  # another taker was faster, on a file system without locks
        other = read_lease(folder) or Holder(None, None, None, None, None, time.time())
        raise LeaseHeld(folder, other, dead_after_s) from None
    except OSError as error:
        raise cannot_write(path, error) from error


def _create(path: Path, crashes: int) -> Lease:
    me = Holder(socket.gethostname(), _pid_space(), os.getpid(), _pid_start(os.getpid()), utc_now(), time.time(), crashes)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write(handle, me)
    except OSError:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    return Lease(path, handle, me)


def _write(handle: int, holder: Holder) -> None:
    fields = {name: value for name, value in asdict(holder).items() if name != "heartbeat"}
    os.truncate(handle, os.pwrite(handle, (json.dumps(fields) + "\n").encode(), 0))


def _release(held: Lease) -> None:
    with contextlib.suppress(OSError), _locked(held.path.parent):
        if _same_file(held.handle, held.path):
            held.path.unlink()
    os.close(held.handle)


def _keep_beating(held: Lease, stop: threading.Event, heartbeat_s: float) -> None:
    while not held.lost and not stop.wait(heartbeat_s):
        held.beat()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time looks at a lease and decides. The system drops the lock of a killed process by itself."""
    path = folder / LOCK_NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
        if _same_file(handle, path):
            break
        os.close(handle)  # whoever had the lock before deleted this file: lock the new one
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _pid_space() -> str | None:
    """This boot of this machine, and this container on it; None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _pid_start(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None when it is gone (also when only its exit status is left)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it, in brackets, may hold anything
    return None if state in "ZX" else fields[18]
