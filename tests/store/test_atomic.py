"""Whole files or none: disk full, folders that cannot be written, and kill -9."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from store_samples import RUN, run_record

from olora_bench.errors import StoreError
from olora_bench.store import Store, atomic_write


def refuse(code: int) -> Any:
    def raise_it(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return raise_it


def test_old_then_new(tmp_path: Path) -> None:
    """The new content replaces the old, and no other file appears."""
    path = tmp_path / "deep" / "folder" / "file"
    atomic_write(path, b"old")
    atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_readable_by_the_group(tmp_path: Path) -> None:
    """Permissions follow the umask, as for any file, so that a shared results folder can be read."""
    before = os.umask(0o022)
    try:
        atomic_write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A full disk leaves the old record, no other file, and says which file and what to do."""
    store = Store(tmp_path)
    store.write_run(run_record(attempts=1))
    path = store.run_dir(RUN) / "record.json"
    monkeypatch.setattr(os, call, refuse(errno.ENOSPC))
    with pytest.raises(StoreError) as caught:
        store.write_run(run_record(attempts=2))
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device. Nothing there was changed; free space there, then give the same command again"
    )
    monkeypatch.undo()
    assert store.read_run(RUN) == run_record(attempts=1)
    assert list(path.parent.iterdir()) == [path]


def test_no_room_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """The system itself stops the write after 4 kB: the old file stays whole and alone."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError) as caught:
            atomic_write(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert str(caught.value) == (
        f"cannot write {path}: File too large. Nothing there was changed; "
        "raise the file size limit (`ulimit -f`), then give the same command again"
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_breaks(tmp_path: Path) -> None:
    """An error of the writing function comes through as it is, and leaves nothing."""

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyError("tensor")

    with pytest.raises(KeyError):
        atomic_write(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_results_below_a_regular_file(tmp_path: Path) -> None:
    """A results folder that cannot exist is found before any work."""
    (tmp_path / "taken").write_text("not a folder")
    store = Store(tmp_path / "taken" / "results")
    assert store.read_run(RUN) is None and store.read_curve(RUN) is None and store.state(RUN) == "planned"
    with pytest.raises(StoreError) as caught:
        store.check_writable()
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'taken' / 'results'}: Not a directory. Nothing there was changed; "
        "choose a folder you can write with machine.results_dir=... or OLORA_BENCH_RESULTS"
    )


@pytest.mark.parametrize("call", ["os.open", "pathlib.Path.mkdir"])
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Without the permission to write, the system's reason is given."""
    monkeypatch.setattr(call, refuse(errno.EACCES))
    with pytest.raises(StoreError, match=r"Permission denied\. Nothing there was changed; choose a folder you can write"):
        Store(tmp_path / "results").check_writable()


def test_writable_leaves_nothing(tmp_path: Path) -> None:
    """The check creates the results folder and nothing in it."""
    Store(tmp_path / "results").check_writable()
    assert list((tmp_path / "results").iterdir()) == []


def test_what_a_killed_check_left_goes_with_the_next_look_at_a_finished_run(tmp_path: Path) -> None:
    """Who comes after it may have nothing left to write, and so no check of its own."""
    store = Store(tmp_path)
    store.write_run(run_record())
    child = subprocess.run(
        [sys.executable, "-c", "import os, sys; from pathlib import Path; from olora_bench.store.atomic import temporary;"
         "temporary(Path(sys.argv[1]) / 'writable', None).touch(); os.kill(os.getpid(), 9)", str(tmp_path)], check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL and list(tmp_path.glob(".writable.*.tmp"))
    store.tidy(store.run_dir(RUN))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


WRITER = """
import sys
from pathlib import Path
from olora_bench.store import atomic_write
sizes = [10, 3_000_000]
for n in range(10**9):
    atomic_write(Path(sys.argv[1]), bytes([n % 256]) * sizes[n % 2])
    if n == 1:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.011, 0.023, 0.037])
def test_kill_9_while_writing(tmp_path: Path, delay_s: float) -> None:
    """However the writer dies, a reader finds one of the contents it wrote, complete."""
    path = tmp_path / "file"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    process.wait()
    process.stdout.close()
    content = path.read_bytes()
    assert len(content) in (10, 3_000_000)
    assert content == content[:1] * len(content)
