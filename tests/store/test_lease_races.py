"""One holder at a time, whoever starts, pauses or waits; who lost the lease publishes nothing."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lease_samples import LEASE, RACE, age, plant, start

from olora_bench.errors import StoreError
from olora_bench.store import Holder, LeaseHeld, LeaseLost, lease


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
    assert not folder.exists()  # nothing was written under it: it does not stay, whichever of them made it


def test_the_folder_of_a_refused_run_goes_whoever_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One makes the folder, another gets its lease."""
    folder = tmp_path / "run"
    make = LEASE.make_folder
    second = ExitStack()

    def overtaken(path: Path) -> None:
        make(path)
        monkeypatch.setattr(LEASE, "make_folder", make)
        second.enter_context(lease(path))

    monkeypatch.setattr(LEASE, "make_folder", overtaken)
    with pytest.raises(LeaseHeld), lease(folder):
        pass
    second.close()
    assert list(tmp_path.iterdir()) == []


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
