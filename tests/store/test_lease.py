"""A lease is held, waited for and given back, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lease_samples import HOLD, start, stop

import olora_bench.store.writer as writer
from olora_bench.errors import BadInput, StoreError
from olora_bench.store import LeaseHeld, lease, read_lease


def test_held_and_removed(tmp_path: Path) -> None:
    """Inside, the file names this process; afterwards nothing is left."""
    with lease(tmp_path / "run") as held:
        holder = read_lease(tmp_path / "run")
        assert holder is not None and holder.pid == os.getpid() and holder.alive()
        assert not held.lost
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_nothing_was_written_does_not_stay(tmp_path: Path) -> None:
    """Not one that was there before either: a killed process may have left it. One that holds something does."""
    (tmp_path / "there").mkdir()
    for name in ("empty", "written", "there"):
        with lease(tmp_path / name) as held:
            if name == "written":
                held.publish(tmp_path / name / "file", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["written"]


def test_a_disk_that_fails_once_as_the_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a lease or a `StoreError`; the folder, which is there all the same, stays with what is in it."""
    (tmp_path / "kept").touch()
    looked, failures = os.stat, [OSError(errno.EIO, os.strerror(errno.EIO))]

    def fails(path: object, *rest: object, **named: object) -> os.stat_result:
        if path == tmp_path and failures:
            raise failures.pop()
        result: os.stat_result = looked(path, *rest, **named)
        return result

    monkeypatch.setattr(os, "stat", fails)
    with contextlib.suppress(StoreError), lease(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and failures == []


def test_a_folder_that_its_holder_removes_is_made_again_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one made sure of it just before."""
    folder, gone = tmp_path / "run", iter([True, False])
    module = sys.modules["olora_bench.store.lease"]  # the package's attribute of that name is the function
    make = module.make_folder
    monkeypatch.setattr(module, "make_folder", lambda path: (make(path), next(gone) and path.rmdir()))
    with lease(folder):
        assert read_lease(folder) is not None


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

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    folder = tmp_path / "run"
    with lease(folder), pytest.raises(LeaseHeld), lease(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The message is the store's."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="Not a directory"), lease(tmp_path / "taken" / "run"):
        pass


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that could not be written is not left empty, or it would block the next try."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StoreError, match="No space left on device"), lease(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


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
