"""A dead holder is replaced, and a live one never: by its process, its heartbeat and what its file says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lease_samples import HOLD, LEASE, plant, start, stop

from olora_bench.store import LeaseHeld, lease, read_lease


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


def test_what_the_holder_of_a_folder_below_is_writing_is_its_own(tmp_path: Path) -> None:
    """A study under overrides has a lease inside the folder of the plain one."""
    below = tmp_path / "overridden" / "0123"
    with lease(below) as inner:
        half = below / f".manifest.json.{inner.token}.tmp"
        half.write_text("half")
        with lease(tmp_path):
            assert half.exists()
        half.unlink()


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


def test_crashes_in_a_row_are_counted(tmp_path: Path) -> None:
    """Each dead holder taken over from counts, until one progresses or gives the lease back."""
    folder = tmp_path / "run"
    with lease(folder) as first:
        assert first.crashes == 0
    for crashes in range(3):
        process = start(HOLD, folder)
        stop(process)
        holder = read_lease(folder)
        assert holder is not None and holder.crashes == crashes
    with lease(folder) as held:
        assert held.crashes == 3
        held.progressed()
        holder = read_lease(folder)
        assert holder is not None and holder.crashes == 0 and holder.pid == os.getpid() and not held.lost
    assert list(tmp_path.iterdir()) == []


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
