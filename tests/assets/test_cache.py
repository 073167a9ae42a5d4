"""A cache folder is whole or not there, and says what is wrong with it."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from olora_bench.assets import cache

SPEC = {"from": "here"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cache.publish(tmp_path / "kept", SPEC, lambda f: (f / "rows").write_bytes(b"0123456789"))
    return tmp_path / "kept"


def _problem(folder: Path) -> str | None:
    return cache.problem(folder, SPEC, read_files=False)


def test_whole_folder_has_no_problem(folder):
    """A published folder has no problem, whether its files are read or not."""
    assert _problem(folder) is None and cache.problem(folder, SPEC, read_files=True) is None


def test_what_is_wrong_is_said(folder):
    """Each kind of damage has its own words."""
    (folder / "rows").write_bytes(b"0123456780")
    found = cache.problem(folder, SPEC, read_files=True)
    assert found is not None and found.startswith("rows in the cache is corrupt (SHA-256 ") and "instead of 84d89877f0d4...)" in found
    (folder / "rows").write_bytes(b"01234")
    assert _problem(folder) == "rows in the cache is corrupt (5 B instead of 10 B)"
    (folder / "rows").unlink()
    assert _problem(folder) == "rows is missing from the cache"
    assert (
        cache.problem(folder, {"from": "there"}, read_files=False) == "the copy in the cache was made from another source or by other code"
    )
    (folder / "manifest.json").write_text('{"spec": ')
    assert _problem(folder) == "its manifest.json in the cache is missing or corrupt"
    assert _problem(folder.parent / "other") == "not in the cache"


def test_failed_write_leaves_the_old_folder(folder):
    """A write that breaks leaves what was there before, and nothing half done."""

    def broken(temporary: Path) -> None:
        (temporary / "rows").write_bytes(b"half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        cache.publish(folder, SPEC, broken)
    assert cache.problem(folder, SPEC, read_files=True) is None and [p.name for p in folder.parent.iterdir()] == ["kept"]


def _hold(cache_dir: Path, seconds: float) -> None:
    with cache.filling(cache_dir):
        (cache_dir / "held").touch()
        time.sleep(seconds)
        (cache_dir / "held").unlink()


def test_two_processes_take_turns(tmp_path, capsys):
    """A second process waits until the first has filled the cache, and says so."""
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, 0.5))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with cache.filling(tmp_path):
        assert not (tmp_path / "held").exists()
    other.join()
    assert capsys.readouterr().err == f"assets: another process is filling {tmp_path}; waiting for it\n"
