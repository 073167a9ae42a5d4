"""Repositories of the Hub at a commit, against a small Hub of our own. The client reads its address at import, so each test starts anew."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import COMMIT, FakeHub

CHILD = """
import json, sys
from olora_bench.assets import check, fetch, resolve
from olora_bench.config import compose, load
experiment = load(compose(sys.argv[1:]))
assets = resolve(experiment)
check(experiment, assets)
folders = fetch(experiment, assets)
print(json.dumps({key: [asset.identity, str(folders[key])] for key, asset in assets.items()}))
"""
ALPACA = [{"instruction": f"Add {n}.", "input": "", "output": f"{n}", "text": "rendered"} for n in range(3)]
WEIGHTS = os.urandom(5000)


def _parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    files = {
        f"{model}/{n}": n.encode() for n in ("config.json", "tokenizer.json", "README.md", "onnx/extra.safetensors", "pytorch_model.bin")
    }
    data = {
        "datasets/tatsu-lab/alpaca/data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": _parquet(ALPACA),
        "datasets/tatsu-lab/alpaca/README.md": b"x",
    }
    here = FakeHub({**files, f"{model}/model.safetensors": WEIGHTS, **data})
    yield here
    here.server.shutdown()


@pytest.fixture
def bring(hub: FakeHub, tmp_path: Path) -> Callable[..., tuple[dict[str, list[str]], str]]:
    """Resolve, check and fetch SmolLM2 and Alpaca from the small Hub. Returns key -> [identity, folder], and what was said."""

    def run(*overrides: str, **env: str) -> tuple[dict[str, list[str]], str]:
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", "OLORA_BENCH_CACHE": str(tmp_path / "cache")}
        own |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        pins = [f"model.hub.revision={COMMIT}", f"data.hub.revision={COMMIT}"]
        command = [
            sys.executable,
            "-c",
            CHILD,
            "model=smollm2_135m",
            "data=alpaca",
            "data.decontaminate=[]",
            "suite=none",
            *pins,
            *overrides,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own, **env})
        return (json.loads(done.stdout) if done.returncode == 0 else {}), done.stderr

    return run


def test_snapshot_at_a_commit(bring, hub):
    """A model comes as config, tokenizer and safetensors and nothing else, data as train.parquet; the identity is repo@commit."""
    found, said = bring()
    assert found, said
    assert found["model:smollm2_135m"][0] == f"HuggingFaceTB/SmolLM2-135M-Instruct@{COMMIT}"
    folder = Path(found["model:smollm2_135m"][1])
    assert sorted(p.name for p in folder.rglob("*")) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    rows = pq.read_table(Path(found["data:alpaca"][1]) / "train.parquet").to_pylist()
    assert rows == [{k: v for k, v in row.items() if k != "text"} for row in ALPACA]


def test_second_time_needs_no_hub(bring, hub):
    """What was fetched once is found again without a connection."""
    first, _ = bring()
    count = len(hub.downloads)
    assert bring(HF_ENDPOINT="http://127.0.0.1:9")[0] == first
    assert bring(HF_HUB_OFFLINE="1")[0] == first and len(hub.downloads) == count


def test_corrupt_weights_are_fetched_again(bring, hub):
    """Weights in the Hub cache that no longer have their digest are said and fetched again."""
    found, _ = bring()
    blob = (Path(found["model:smollm2_135m"][1]) / "model.safetensors").resolve()
    blob.write_bytes(b"x" + WEIGHTS[1:])
    _, said = bring()
    assert "assets: model.safetensors in the Hub cache is corrupt" in said
    assert (Path(found["model:smollm2_135m"][1]) / "model.safetensors").read_bytes() == WEIGHTS


def test_unpinned_repository_is_resolved_to_its_commit(bring):
    """A null revision becomes the Hub's present commit in the identity."""
    found, _ = bring("model.hub.revision=null", "data.hub.revision=null")
    assert found["data:alpaca"][0] == f"tatsu-lab/alpaca@{COMMIT}"


def test_gated_repository(bring, hub):
    """A gated repository is refused before any download, with where to accept its licence."""
    hub.gated = True
    _, said = bring()
    url = "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"
    assert f"it is gated: accept its licence at {url}, then `hf auth login`" in said and hub.downloads == []


def test_only_pickled_weights(bring, hub):
    """A repository without safetensors gives its pickled weights (the models room loads them with weights_only=True)."""
    del hub.files["HuggingFaceTB/SmolLM2-135M-Instruct/model.safetensors"]
    found, said = bring()
    assert found, said
    assert (Path(found["model:smollm2_135m"][1]) / "pytorch_model.bin").is_file()
