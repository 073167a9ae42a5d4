"""Who is working in a folder: a fence. A dead holder's lease is taken over; from then on the old holder publishes nothing there.

A lease is a small file with a token of its own and a heartbeat. Processes of one boot compare heartbeats by the clock that they share and
that nobody can set, and by that of the file system, and believe the younger age; others by that of the file system alone. So a clock that
is set takes no lease from a live process.

The fence: a file is written whole under a temporary name that carries the token, then the lease is looked at, then the file is renamed. Who
takes a lease over removes such files of earlier tokens before it reads anything. Whatever the old holder does between looking and renaming,
its rename finds nothing. A lock keeps two takers apart where the file system has locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from olora_bench.errors import BadInput, StoreError
from olora_bench.formats import read_regular
from olora_bench.process.progress import say
from olora_bench.store.atomic import LEASE, Content, cannot_write, leftovers, make_folder, written
from olora_bench.store.record import Moment, utc_now
from olora_bench.store.sealed import is_whole, sealed
from olora_bench.store.writer import file_system_time, monotonic, pid_space, pid_start

LOCK_NAME = "lease.lock.tmp"
HEARTBEAT_S = 10.0
DEAD_AFTER_S = 60.0
_POLL_S = 0.5
_LOCK_POLL_S = 0.01

# File systems without locks (some Lustre mounts): two takers of one dead lease may both win there, and the fence keeps one of them out.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. `pid_space` tells machines, boots and containers apart, `pid_start` one process from a later one with its pid.

    `since` is ISO 8601 UTC; `beat` the heartbeat in seconds on the clock of its boot; `age_s` how long ago that was when it was read. All
    but the age are null when the file was cut off as it was made, or is damaged.
    `crashes` counts the holders before this one, in a row, that died without giving the lease back and got nowhere.
    """

    token: str | None = None
    host: str | None = None
    pid_space: str | None = None
    pid: int | None = None
    pid_start: str | None = None
    since: str | None = None
    beat: float | None = None
    crashes: int = 0
    age_s: float = 0.0

    def alive(self) -> bool:
        """False when the heartbeat is older than `DEAD_AFTER_S`, or the process is known to be gone."""
        if self.age_s > DEAD_AFTER_S:
            return False
        if self.pid is None or self.pid_space is None or self.pid_space != pid_space():
            return True  # another machine, or another container: only the heartbeat can tell
        return pid_start(self.pid) == self.pid_start


class LeaseHeld(BadInput):
    """The folder is being worked in by a live process. `holder` says which."""

    def __init__(self, folder: Path, holder: Holder) -> None:
        self.holder = holder
        who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder.pid is not None else "a process that starts right now"
        super().__init__(
            f"{folder} is being worked on by {who} (last heartbeat {max(0.0, holder.age_s):.0f} s ago). "
            "Wait for it, or stop it and give the same command again: "
            f"its lease ends with it, or else {DEAD_AFTER_S:.0f} s after its last heartbeat"
        )


class LeaseLost(StoreError):
    """This process was thought dead and its lease was taken over. What it was about to publish is not published."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: this process did not answer for more than {DEAD_AFTER_S:.0f} s, and another took its work there over. "
            "It leaves that to the other: nothing there was changed"
        )


@dataclass
class Lease:
    """A lease that is held. `lost` becomes true when another process took it over, having thought this one dead."""

    path: Path
    handle: int
    holder: Holder
    lost: bool = False

    @property
    def token(self) -> str:
        """What this lease's files carry in their names."""
        return str(self.holder.token)

    @property
    def crashes(self) -> int:
        """How many holders before this one, in a row, died without giving the lease back and without `progressed`."""
        return self.holder.crashes

    def progressed(self) -> None:
        """Something was kept that the next holder goes on from: should this one die, it is the first in the row."""
        if self.crashes:
            self.holder = replace(self.holder, crashes=0)
            self.beat()

    def beat(self) -> None:
        """Renew the heartbeat, or notice that the lease was lost."""
        with contextlib.suppress(OSError):  # a server that does not answer now may at the next beat
            if not _same_file(self.handle, self.path):
                self.lost = True
                return
            # Through the handle and never through the path: between the look and the write the path may have become another's lease.
            os.utime(self.handle)
            self.holder = replace(self.holder, beat=monotonic())
            _write(self.handle, self.holder)

    def check(self) -> None:
        """Look whether the lease is still this one's.

        Raises:
            LeaseLost: it is not.
        """
        try:
            self.lost = self.lost or not _same_file(self.handle, self.path)
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error
        if self.lost:
            raise LeaseLost(self.path.parent)

    def publish(self, path: Path, content: Content) -> None:
        """`atomic_write` of a file in the lease's folder, behind the fence.

        Raises:
            LeaseLost: the lease was taken over; the file is what it was.
            StoreError: the system refuses.
        """
        # The order is the fence: write whole under the token's name, look at the lease, rename. A look before the write would let a
        # process that paused while it wrote publish over its successor.
        with written(path, content, self.token) as whole:
            try:
                with _locked(self.path.parent):
                    self.check()
                    whole.replace(path)
            except FileNotFoundError:  # a successor has removed the temporary file; without a successor it is a fault of the system
                self.check()
                raise

    def set_aside(self, path: Path) -> None:
        """Give a file in the lease's folder the suffix `.damaged`.

        Raises:
            LeaseLost: the lease was taken over.
            StoreError: the system refuses.
        """
        self.check()
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
        except OSError as error:
            raise cannot_write(path, error) from error

    def remove(self, paths: list[Path]) -> None:
        """Remove files that were listed while the lease was this one's: a later holder's cannot be among them.

        Raises:
            LeaseLost: the lease was taken over.
        """
        self.check()
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def lease(folder: Path, *, wait: bool = False) -> Iterator[Lease]:
    """Hold a folder for the time of a `with` block; a thread renews the heartbeat. The folder is created if need be, and removed when
    it is empty at the end.

    Temporary files below the folder are removed, but for those of processes that live and hold no lease of it.

    Args:
        folder: the run's folder.
        wait: wait until a live holder is done, instead of raising; says once for whom.

    Raises:
        LeaseHeld: a live process holds it, and `wait` is false; names host, process and since when.
        StoreError: the system refuses to write.
    """
    held = _acquire_in_turn(folder) if wait else _acquire(folder)
    stop = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(held, stop), name=f"lease {folder.name}", daemon=True)
    try:
        # Before the caller reads anything: a file of an earlier holder that is renamed later would replace what the caller builds on.
        held.remove(leftovers(folder, held.token))
        thread.start()
        yield held
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()
        _release(held)
        # What was refused before anything was written leaves no folder. Whoever made it: of two that start at once, one may make the
        # folder and the other get the lease, and a killed process may have left it.
        with contextlib.suppress(OSError):  # most often: it is not empty
            folder.rmdir()


def read_lease(folder: Path) -> Holder | None:
    """Who holds a folder's lease, dead or alive; None when nobody does."""
    path = folder / LEASE
    try:
        changed = path.stat().st_mtime
        content = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Holder()  # it is there and cannot be read now
    holder = _parsed(content)
    age = _age_on_this_boot(holder)
    if age is None or not 0 <= age <= DEAD_AFTER_S:  # two clocks must agree that it is dead: one of them may have been set
        age = min((one for one in (age, _age_of_file(folder, changed)) if one is not None and one >= 0), default=0.0)
    return replace(holder, age_s=age)


def has_leftovers(folder: Path) -> bool:
    """Whether a lease, dead or alive, or dead writers' files lie in a folder: what holding its lease and giving it back removes."""
    return (folder / LEASE).exists() or (folder / LOCK_NAME).exists() or bool(leftovers(folder))


class _File(BaseModel):
    """What a lease's file holds, which may have been written by anybody."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
    token: str
    host: str
    pid_space: Annotated[str, Field(pattern=r"^\S+ \S+$")] | None
    pid: int
    pid_start: str | None
    since: Moment
    beat: float
    crashes: Annotated[int, Field(ge=0)]


def _parsed(content: bytes) -> Holder:
    try:
        fields = json.loads(content)
        return Holder(**_File.model_validate(fields).model_dump()) if is_whole(fields) else Holder()
    except (ValueError, AttributeError, RecursionError):  # pydantic's error is a ValueError
        return Holder()


def _age_on_this_boot(holder: Holder) -> float | None:
    here = pid_space()
    if here is None or holder.pid_space is None or holder.beat is None or here.split()[0] != holder.pid_space.split()[0]:
        return None
    return monotonic() - holder.beat


def _age_of_file(folder: Path, changed: float) -> float:
    try:
        return file_system_time(folder) - changed
    except OSError:  # a folder that can only be read
        return time.time() - changed


def _acquire_in_turn(folder: Path) -> Lease:
    said = False
    while True:
        try:
            return _acquire(folder)
        except LeaseHeld as held:
            if not said:
                say(f"waiting: {held}")
                said = True
            time.sleep(_POLL_S)


def _acquire(folder: Path) -> Lease:
    while True:
        make_folder(folder)
        try:
            return _taken(folder)
        except FileNotFoundError as error:
            if os.path.lexists(folder):
                raise cannot_write(folder / LEASE, error) from error
            # its holder before has just removed it, empty


def _taken(folder: Path) -> Lease:
    path = folder / LEASE
    try:
        with _locked(folder):
            holder = read_lease(folder)
            if holder is not None and holder.alive():
                raise LeaseHeld(folder, holder)
            # Removed and created anew, never rewritten: the old holder knows by the file itself that it lost its lease.
            path.unlink(missing_ok=True)
            return _create(path, 0 if holder is None else holder.crashes + 1)
    except FileExistsError:  # another taker was faster, on a file system without locks
        raise LeaseHeld(folder, read_lease(folder) or Holder()) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


def _create(path: Path, crashes: int) -> Lease:
    me = Holder(
        secrets.token_hex(6), socket.gethostname(), pid_space(), os.getpid(), pid_start(os.getpid()), utc_now(), monotonic(), crashes
    )
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write(handle, me)
    except OSError:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    return Lease(path, handle, me)


def _write(handle: int, holder: Holder) -> None:
    fields = {name: value for name, value in asdict(holder).items() if name != "age_s"}
    os.truncate(handle, os.pwrite(handle, sealed(fields), 0))


def _release(held: Lease) -> None:
    with contextlib.suppress(OSError, StoreError), _locked(held.path.parent):
        if _same_file(held.handle, held.path):  # under the lock: between look and removal nobody may take the lease over
            held.path.unlink()
    os.close(held.handle)  # last: while it is open, no new file can get its inode and pass for it


def _keep_beating(held: Lease, stop: threading.Event) -> None:
    while not held.lost and not stop.wait(HEARTBEAT_S):
        held.beat()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time looks at a lease and decides. The system drops the lock of a killed process by itself."""
    path = folder / LOCK_NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            _lock(handle, path)
            if _same_file(handle, path):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the holder before removed this file: lock the new one
    try:
        yield
    finally:
        # Removed while it is still locked: who waits for it gets a file that is gone, sees that, and locks the new one.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    deadline = monotonic() + DEAD_AFTER_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if monotonic() > deadline:
                raise StoreError(f"{path} is locked by a process that does not go on: end it, then give the same command again") from None
            time.sleep(_LOCK_POLL_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
