"""Which clock says that a heart beats: no clock that is set or faked takes a lease from a live process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from lease_samples import LEASE, plant

import olora_bench.store.writer as writer
from olora_bench.store import LeaseHeld, lease


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
