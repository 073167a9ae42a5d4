"""Faults that a network and a cache have are made up for: what came is kept, what is wrong or gone is fetched again."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
from hub_door import TINYLLAMA, Door
from hub_stand_in import TOKEN, Fault, sha256
from huggingface_hub import constants


@pytest.mark.parametrize("cut", [1, 5000, 16000])
def test_cut_download_goes_on(cut: int, door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that breaks costs nothing: what had come is not sent again."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(weights), 3, cut_after=cut)]
    assert (door.model() / "model.safetensors").read_bytes() == weights
    assert door.hub.sent["model.safetensors"] == len(weights)
    assert "the connection to the Hub fails (RemoteProtocolError: " in capsys.readouterr().err


def test_cut_download_goes_on_at_the_next_start(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the network stays away the command ends with the reason; the same command asks only for what had not come."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(weights), 1, cut_after=9000), Fault(sha256(weights), 3, cut_after=0)]
    assert "cannot be downloaded: the Hub cannot be reached (RemoteProtocolError: " in door.model_refusal()
    assert not any(door.home.rglob("snapshots/*"))
    assert (door.model() / "model.safetensors").read_bytes() == weights
    assert door.hub.sent["model.safetensors"] == len(weights)
    assert f"of {TINYLLAMA} are here already" in capsys.readouterr().err


def test_cut_download_from_a_host_without_parts(door: Door) -> None:
    """A host that sends the whole file whatever was asked gets the whole file believed, not its beginning twice."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.ranges, door.hub.faults = False, [Fault(sha256(weights), 1, cut_after=9000)]
    assert (door.model() / "model.safetensors").read_bytes() == weights


def test_part_that_is_longer_than_the_file(door: Door) -> None:
    """What lies there from another time and cannot be a beginning is thrown away."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    part = door.home / f"models--{TINYLLAMA.replace('/', '--')}" / "blobs" / f"{sha256(weights)}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(weights) + 1))
    assert (door.model() / "model.safetensors").read_bytes() == weights


def test_rate_limit_is_waited_out(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """429 with Retry-After is said and waited out, at the check, the listing, the digests and the download."""
    limit = {"Retry-After": "0"}
    door.hub.faults = [Fault(where, 1, "ANY", 429, limit) for where in ("/config.json", "/tree/", "/tokenizer.json", "?X-Amz")]
    assert door.model().is_dir()
    line = "assets: the Hub limits how often it is asked from here and says to wait 0.0s; trying again in 0.0s"
    assert capsys.readouterr().err.count(line) == 3


def test_server_errors_pass(door: Door) -> None:
    """The Hub's own errors are tried again, at the check too."""
    door.hub.faults = [Fault(where, 1, "ANY", 503) for where in ("/config.json", "/tree/", "/tokenizer.json", "?X-Amz")]
    assert door.model().is_dir()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_wrong_bytes_are_fetched_again(name: str, door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of the right length with another digest are said and fetched once more, of large files and of small ones."""
    data = door.hub.repositories[TINYLLAMA].files[name]
    door.hub.faults = [
        Fault(sha256(data), 1, flip=True) if name.endswith("tensors") else Fault(f"/{name}", 2, flip=True)
    ]  # the redirection takes one
    assert (door.model() / name).read_bytes() == data and door.hub.sent[name] == 2 * len(data)
    assert f"assets: {name} in the Hub cache is corrupt (" in capsys.readouterr().err


def test_wrong_bytes_in_the_cache(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights in the Hub library's cache that lost their digest are fetched again, rows too."""
    folder = door.model()
    (folder / "model.safetensors").resolve().write_bytes(b"x" * 100)
    assert (door.model() / "model.safetensors").read_bytes() == door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    assert "assets: model.safetensors in the Hub cache is corrupt (" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["model-00002-of-00002.safetensors", "model.safetensors.index.json", "config.json"])
def test_part_of_a_model_in_the_cache(lost: str, door: Door) -> None:
    """A snapshot that another program left half-filled is completed; only what is missing is fetched. Offline it is refused."""
    door.monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = door.model("mistral_7b")
    for name in (lost, "model.safetensors.index.json"):  # without its index nothing but its name tells of a missing part
        (folder / name).unlink(missing_ok=True)
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if lost != "model.safetensors.index.json":
        assert "; HF_HUB_OFFLINE is set" in door.model_refusal("mistral_7b")
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    door.hub.sent.clear()
    if lost != "model.safetensors.index.json":
        assert (door.model("mistral_7b") / lost).is_file() and door.hub.sent == {}


def test_weights_whose_bytes_are_gone(door: Door) -> None:
    """A snapshot brought without its blobs is seen as links to nothing."""
    folder = door.model()
    (folder / "model.safetensors").resolve().unlink()
    assert (door.model() / "model.safetensors").is_file()
    (folder / "model.safetensors").resolve().unlink()
    door.offline()
    assert "; HF_HUB_OFFLINE is set" in door.model_refusal()


def test_part_of_a_data_set_in_the_cache(door: Door) -> None:
    """One of two parts of a split is not taken for the split."""
    overrides = ("model=tiny_tinyllama", "data=commonsense", "data.benchmarks=[piqa]", "data.decontaminate=[]", "suite=none")
    first = door.bring(*overrides)["benchmark:piqa"]
    rows = pq.read_table(first / "train.parquet").to_pylist()
    shutil.rmtree(door.cache / "rows")
    next(door.home.rglob("train-00000-of-00002.parquet")).unlink()
    assert pq.read_table(door.bring(*overrides)["benchmark:piqa"] / "train.parquet").to_pylist() == rows
    shutil.rmtree(door.cache / "rows")
    next(door.home.rglob("train-00000-of-00002.parquet")).unlink()
    door.offline()
    assert "; HF_HUB_OFFLINE is set" in door.refusal(*overrides)


def test_split_that_was_not_here_when_the_rows_were_made(door: Door) -> None:
    """Rows made offline from a cache with one split get the others once they are wanted and the Hub is there."""
    score = ("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite.benchmarks=[piqa]")
    door.bring(*score)
    shutil.rmtree(door.cache / "rows")
    for path in door.home.rglob("train-0000?-of-00002.parquet"):
        path.unlink()
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not (door.bring(*score)["benchmark:piqa"] / "train.parquet").exists()
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    train = ("model=tiny_tinyllama", "data=commonsense", "data.benchmarks=[piqa]", "data.decontaminate=[]", "suite=none")
    assert (door.bring(*train)["benchmark:piqa"] / "train.parquet").is_file()
