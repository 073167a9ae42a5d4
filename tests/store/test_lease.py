"""Leases: one worker at a time, and the dead do not block the living."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import olora_bench.store.writer as writer
from olora_bench.errors import BadInput, StoreError
from olora_bench.store import Holder, LeaseHeld, LeaseLost, lease, read_lease, sealed

LEASE = importlib.import_module("olora_bench.store.lease")  # the package's `lease` is the function

HOLD = """
import importlib, sys, time
from pathlib import Path
from olora_bench.store import lease
importlib.import_module("olora_bench.store.lease").HEARTBEAT_S = 0.1
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# Waits for a moment that all racers know, then tries once and holds on until every racer has tried.
RACE = """
import sys, time
from pathlib import Path
from olora_bench.store import LeaseHeld, lease
print("ready", flush=True)
sys.stdin.readline()
try:
    with lease(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.readline()
except LeaseHeld:
    print("lost", flush=True)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """A fresh interpreter that runs `code`; returns once it has said its first line."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def plant(folder: Path, **changes: Any) -> Path:
    """A lease file as this process would have written it, with changes."""
    with lease(folder):
        fields = json.loads((folder / "lease.json").read_text())
    path = folder / "lease.json"
    path.write_bytes(sealed(fields | changes))
    return path


def age(path: Path, seconds: float) -> None:
    """Make a lease's heartbeat older, on its boot's clock and on the file system's."""
    fields = json.loads(path.read_text())
    with path.open("r+b") as file:  # the same file, as its holder knows it
        file.write(sealed(fields | {"beat": fields["beat"] - seconds}))
        file.truncate()
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_held_and_removed(tmp_path: Path) -> None:
    """Inside, the file names this process; afterwards nothing is left."""
    with lease(tmp_path / "run") as held:
        holder = read_lease(tmp_path / "run")
        assert holder is not None and holder.pid == os.getpid() and holder.alive()
        assert not held.lost
    assert list((tmp_path / "run").iterdir()) == []


def test_removed_after_an_error(tmp_path: Path) -> None:
    """A run that breaks gives its lease back."""
    with pytest.raises(KeyError), lease(tmp_path):
        raise KeyError
    assert read_lease(tmp_path) is None


def test_the_message_names_the_holder(tmp_path: Path) -> None:
    """A live process in the folder is bad input, with its host, its pid and since when."""
    process = start(HOLD, tmp_path)
    try:
        holder = read_lease(tmp_path)
        assert holder is not None and holder.pid == process.pid
        with pytest.raises(LeaseHeld) as caught, lease(tmp_path):
            pass
    finally:
        stop(process)
    assert isinstance(caught.value, BadInput)
    assert str(caught.value) == (
        f"{tmp_path} is being worked on by process {process.pid} on {holder.host} since {holder.since} (last heartbeat 0 s ago). "
        "Wait for it, or stop it and give the same command again: its lease ends with it, or else 60 s after its last heartbeat"
    )


def test_a_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    """kill -9, then the same command: no waiting for the heartbeat to grow old, also before anybody asked for the exit status."""
    process = start(HOLD, tmp_path)
    (tmp_path / ".record.json.0123.tmp").write_text("half")
    process.kill()
    deadline = time.monotonic() + 10
    while (holder := read_lease(tmp_path)) is not None and holder.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    with lease(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]  # the killed writer's leftovers are gone too
    process.communicate()


def test_a_stale_heartbeat_is_taken_over(tmp_path: Path) -> None:
    """A holder on another machine is dead once its heartbeat is too old, and not before."""
    path = plant(tmp_path, pid=1, host="elsewhere", pid_space="another machine")
    with pytest.raises(LeaseHeld, match="process 1 on elsewhere"), lease(tmp_path):
        pass
    old = time.time() - 61
    os.utime(path, (old, old))
    with lease(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_vanished_pid_is_taken_over(tmp_path: Path) -> None:
    """On this machine a process that is gone is dead, whatever its heartbeat says."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = plant(tmp_path, pid=process.pid)
    with lease(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_reused_pid_is_not_the_holder(tmp_path: Path) -> None:
    """A living process with the holder's pid but another start time is another process."""
    path = plant(tmp_path, pid_start="1")
    with lease(tmp_path):
        assert json.loads(path.read_text())["pid_start"] != "1"


def test_a_lease_cut_off_as_it_was_made(tmp_path: Path) -> None:
    """An empty lease counts as held while it is fresh, then as dead."""
    path = tmp_path / "lease.json"
    path.write_bytes(b"")
    with pytest.raises(LeaseHeld, match="is being worked on by a process that starts right now"), lease(tmp_path):
        pass
    os.utime(path, (1, 1))
    with lease(tmp_path):
        pass


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that works longer than `DEAD_AFTER_S` stays alive."""
    monkeypatch.setattr(LEASE, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(LEASE, "DEAD_AFTER_S", 1.0)
    with lease(tmp_path):
        time.sleep(1.3)
        with pytest.raises(LeaseHeld), lease(tmp_path):
            pass


def test_a_holder_thought_dead_does_not_disturb_its_successor(tmp_path: Path) -> None:
    """It learns that it lost the lease, does not renew the other's, and does not remove it."""
    path = tmp_path / "lease.json"
    with ExitStack() as second_stack:
        with lease(tmp_path) as first:
            age(path, 100)
            second = second_stack.enter_context(lease(tmp_path))
            os.utime(path, (5, 5))
            first.beat()
            assert first.lost and not second.lost
            assert path.stat().st_mtime == 5
            second.beat()
            assert path.stat().st_mtime > 5
        second.beat()
        assert path.exists() and not second.lost
    assert not path.exists()


def test_a_slow_taker_does_not_take_from_a_quick_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two find the same dead lease; the one that comes to act later must not remove the new lease of the first."""
    age(plant(tmp_path), 100)
    pauses, alive = iter([0.1, 0.4]), Holder.alive

    def think_slowly(holder: Holder) -> bool:
        verdict = alive(holder)
        time.sleep(next(pauses))
        return verdict

    monkeypatch.setattr(Holder, "alive", think_slowly)
    results: list[str] = []
    tried = threading.Barrier(2)

    def take() -> None:
        try:
            with lease(tmp_path):
                results.append("won")
                tried.wait(10)
        except LeaseHeld:
            results.append("lost")
            tried.wait(10)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["lost", "won"]


def test_the_lock_lets_in_one_at_a_time(tmp_path: Path) -> None:
    """Also those that waited for a lock file which its holder then deleted."""
    locked = LEASE._locked
    inside: list[int] = []
    crowd: list[int] = []

    def enter() -> None:
        for _ in range(10):
            with locked(tmp_path):
                inside.append(1)
                crowd.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd == [1] * 50
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dead_lease", [False, True])
def test_one_of_many_wins(tmp_path: Path, dead_lease: bool) -> None:
    """Processes that start at the same moment: one gets the lease, a free one or a dead one."""
    folder = tmp_path / "run"
    if dead_lease:
        os.utime(plant(folder, pid=1, pid_space="another machine"), (1, 1))
    racers = [start(RACE, folder) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = []
    for racer in racers:
        assert racer.stdout is not None
        results.append(racer.stdout.readline().strip())
    for racer in racers:
        racer.communicate("done\n")
    assert sorted(results) == ["lost", "lost", "lost", "won"]
    assert list(folder.iterdir()) == []


def test_threads_take_turns(tmp_path: Path) -> None:
    """Never two holders at once, over many quick takings in one process."""
    inside, most, taken = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, taken
        for _ in range(30):
            try:
                with lease(tmp_path):
                    with guard:
                        inside, taken = inside + 1, taken + 1
                        most = max(most, inside)
                    time.sleep(0.001)
                    with guard:
                        inside -= 1
            except LeaseHeld:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and taken > 1


def test_crashes_in_a_row_are_counted(tmp_path: Path) -> None:
    """Each dead holder taken over from counts, until one progresses or gives the lease back."""
    with lease(tmp_path) as first:
        assert first.crashes == 0
    for crashes in range(3):
        process = start(HOLD, tmp_path)
        stop(process)
        holder = read_lease(tmp_path)
        assert holder is not None and holder.crashes == crashes
    with lease(tmp_path) as held:
        assert held.crashes == 3
        held.progressed()
        holder = read_lease(tmp_path)
        assert holder is not None and holder.crashes == 0 and holder.pid == os.getpid() and not held.lost
    assert list(tmp_path.iterdir()) == []


def test_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`wait` says once for whom it waits, and goes on when the holder is gone."""
    process = start(HOLD, tmp_path)
    killer = threading.Timer(0.2, process.kill)
    killer.start()
    with lease(tmp_path, wait=True):
        assert not killer.is_alive()
    stop(process)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"waiting: {tmp_path} is being worked on by process {process.pid} on ")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks a live lease still keeps others out."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with lease(tmp_path), pytest.raises(LeaseHeld), lease(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The message is the store's."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="Not a directory"), lease(tmp_path / "taken" / "run"):
        pass


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that could not be written is not left empty, or it would block the next try."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StoreError, match="No space left on device"), lease(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_set_takes_no_lease_from_a_live_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes, an hour, a year ahead or behind: neither the local clock nor the file's time decides on one boot."""
    real = time.time
    with lease(tmp_path):
        for step in (-3e7, -3600, 120, 3600, 3e7):
            monkeypatch.setattr(time, "time", lambda step=step: real() + step)
            os.utime(tmp_path / "lease.json", (real() + step, real() + step))
            with pytest.raises(LeaseHeld), lease(tmp_path):
                pass


def test_a_faked_monotonic_clock_takes_no_lease_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As libfaketime sets it: the file system's clock still says that the heart beats."""
    real = time.monotonic
    with lease(tmp_path):
        for step in (-1e5, -120, 120, 1e5):
            monkeypatch.setattr(LEASE, "monotonic", lambda step=step: real() + step)
            with pytest.raises(LeaseHeld), lease(tmp_path):
                pass


def test_another_hosts_heartbeat_is_read_on_the_file_servers_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server an hour ahead of us stamps its heartbeats an hour ahead: the live lease stays, the old one goes."""
    path = plant(tmp_path, pid=1, host="elsewhere", pid_space="another machine")
    monkeypatch.setattr(LEASE, "file_system_time", lambda folder: time.time() + 3600)
    os.utime(path, (time.time() + 3590, time.time() + 3590))
    with pytest.raises(LeaseHeld, match="last heartbeat 10 s ago"), lease(tmp_path):
        pass
    os.utime(path, (time.time() + 3530, time.time() + 3530))
    with lease(tmp_path):
        pass


def test_the_file_systems_clock_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nameless files, and where a file system has none."""
    assert abs(writer.file_system_time(tmp_path) - time.time()) < 5
    monkeypatch.delattr(os, "O_TMPFILE")
    assert abs(writer.file_system_time(tmp_path) - time.time()) < 5
    assert list(tmp_path.iterdir()) == []


def test_who_lost_the_lease_publishes_nothing(tmp_path: Path) -> None:
    """The file stays the successor's, the zombie is told, and its temporary file is gone."""
    with ExitStack() as stack:
        with lease(tmp_path) as first:
            first.publish(tmp_path / "record.json", b"first")
            age(tmp_path / "lease.json", 100)
            second = stack.enter_context(lease(tmp_path))
            second.publish(tmp_path / "record.json", b"second")
            for act in (
                lambda: first.publish(tmp_path / "record.json", b"zombie"),
                first.check,
                lambda: first.remove([tmp_path / "record.json"]),
            ):
                with pytest.raises(LeaseLost, match="this process did not answer for more than 60 s, and another took its work there over"):
                    act()
        assert (tmp_path / "record.json").read_bytes() == b"second"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lease.json", "record.json"]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_a_pause_between_looking_and_renaming_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool) -> None:
    """The moment that no look at a lease can cover: its successor has removed what the zombie was about to rename."""
    if not locks:
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    check, stack = LEASE.Lease.check, ExitStack()

    def take_over_after_the_look(held: Any) -> None:
        check(held)
        monkeypatch.setattr(LEASE.Lease, "check", check)
        age(tmp_path / "lease.json", 100)
        if locks:  # whoever would take over waits for the lock, so the rename is before it
            return
        stack.enter_context(lease(tmp_path)).publish(tmp_path / "record.json", b"second")

    with stack, lease(tmp_path) as first:
        monkeypatch.setattr(LEASE.Lease, "check", take_over_after_the_look)
        if locks:
            first.publish(tmp_path / "record.json", b"first")
        else:
            with pytest.raises(LeaseLost):
                first.publish(tmp_path / "record.json", b"zombie")
            assert (tmp_path / "record.json").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_lock_that_is_never_freed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process stopped while it looked at the lease: no hang without a word."""
    monkeypatch.setattr(LEASE, "DEAD_AFTER_S", 0.05)
    with (
        LEASE._locked(tmp_path),
        pytest.raises(StoreError, match=r"lease\.lock\.tmp is locked by a process that does not go on"),
        lease(tmp_path),
    ):
        pass


def test_a_flipped_bit_in_a_lease_takes_nothing_from_its_holder(tmp_path: Path) -> None:
    """Each bit of the file: it is still held, and the next heartbeat mends it."""
    path = tmp_path / "lease.json"
    with lease(tmp_path) as held:
        content = path.read_bytes()
        for bit in range(0, 8 * len(content), 7):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            with path.open("r+b") as file:
                file.write(flipped)
            holder = read_lease(tmp_path)
            assert holder is not None and holder.alive()
        held.beat()
        holder = read_lease(tmp_path)
        assert holder is not None and holder.pid == os.getpid()


@pytest.mark.parametrize(
    "change", [{"pid": "1"}, {"since": "yesterday"}, {"beat": None}, {"pid_space": ""}, {"crashes": -1}, {"host": ["a"]}, {"token": 5}]
)
def test_a_lease_that_somebody_made_up_is_of_nobody_known(tmp_path: Path, change: dict[str, Any]) -> None:
    """Sealed, but of other types than ours: it is held while it is fresh, and no field of it is believed."""
    plant(tmp_path, **change)
    holder = read_lease(tmp_path)
    assert holder is not None and holder.alive() and holder.pid is holder.since is None


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A results folder from somebody else may hold a link in the lock's place: the file that it names stays as it is, or not there."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lease.lock.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError), lease(tmp_path / "run"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_temporary_files_of_live_processes_stay(tmp_path: Path) -> None:
    """Of this process; of another host until an hour is over. What a dead process left goes, and what an earlier lease left."""
    (tmp_path / "report").mkdir()
    mine = writer.temporary(tmp_path / "report" / "report.md")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    space = mine.name.split(".")[-2].split("-")[0]
    stays = [mine, tmp_path / "report" / ".page.0badcafe-1-1-00000000.tmp"]
    goes = [tmp_path / f".a.{space}-{dead.pid}-1-00000000.tmp", tmp_path / f".b.{space}-{os.getpid()}-1-00000000.tmp"]
    goes += [tmp_path / ".record.json.0123456789ab.tmp", tmp_path / "report" / ".old.0badcafe-1-1-00000000.tmp"]
    for path in (*stays, *goes):
        path.write_text("half")
    os.utime(goes[-1], (time.time() - 3700, time.time() - 3700))
    with lease(tmp_path):
        assert sorted(path for path in tmp_path.rglob(".*.tmp")) == sorted(stays)
