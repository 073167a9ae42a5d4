"""Single flipped bits and cuts in what studies and caches keep, times as before: each is noticed, or the same values come out.

Records, curves, items, generations and adapters: `tests/store/test_parts.py`. Leases: `tests/store/test_lease.py`.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from olora_bench.assets import cache
from olora_bench.config import Model, conf_dir
from olora_bench.errors import RecordError
from olora_bench.evaluation import prompts
from olora_bench.evaluation.trie import build_plan
from olora_bench.models import conversion
from olora_bench.store import sealed
from olora_bench.study.manifest import read_lock, read_manifest
from olora_bench.study.names import Home
from olora_bench.training import Checkpoints
from olora_bench.training.checkpoint import Keeper

NOTICED = object()
Kept = tuple[list[Path], Callable[[], object]]


def study_files(folder: Path, _: Path) -> Kept:
    """A manifest and a lock."""
    (folder / "s").mkdir()
    ids = {"train_id": "0" * 16, "eval_id": None, "base_eval_id": None}
    run = ids | {"cell": "c", "model": "m", "arm": "lora", "rank": 4, "lr": 0.001, "seed": 3, "stage": ""}
    manifest = {"schema_version": 2, "study": "s", "title": "", "protocol": "shared_lr", "contrasts": [], "runs": [run]}
    (folder / "s" / "manifest.json").write_bytes(sealed(manifest))
    (folder / "s" / "lock.json").write_bytes(sealed({"schema_version": 2, "precision": "bf16"}))

    def read() -> object:
        try:
            return read_manifest(Home(folder, "s")), read_lock(Home(folder, "s"))
        except RecordError:
            return NOTICED

    return list((folder / "s").iterdir()), read


def model(folder: Path, cache_dir: Path) -> Kept:
    """A generated model in our cache."""
    spec = Model.model_validate(yaml.safe_load((conf_dir() / "model" / "tiny_tinyllama.yaml").read_text()))
    place = conversion.prepare(spec, None, cache_dir).folder
    weights = sorted(path for path in place.iterdir() if path.suffix in (".json", ".safetensors"))
    return (
        weights,
        lambda: NOTICED if conversion._damaged(place) else {path: path.read_bytes() for path in weights if path.name != "built.json"},
    )


def rows(folder: Path, _: Path) -> Kept:
    """Rows in our cache."""
    table, spec = pa.table({"question": ["what?", "who?"], "label": [0, 1]}), {"from": "here"}
    cache.publish(folder / "rows", spec, lambda target: pq.write_table(table, target / "train.parquet"))

    def read() -> object:
        found = cache.problem(folder / "rows", spec, read_files=True)
        return NOTICED if found else pq.read_table(folder / "rows" / "train.parquet").to_pylist()

    return list((folder / "rows").iterdir()), read


def digests(folder: Path, _: Path) -> Kept:
    """The memory of the digests of a user's own files: forgotten, or right."""
    (folder / "weights").write_bytes(b"weights")
    cache.known_sha256(folder / "weights", folder)
    return [folder / "digests.json"], lambda: cache.known_sha256(folder / "weights", folder)


def tokenised(folder: Path, _: Path) -> Kept:
    """Tokenised prompts."""
    pairs = [(list(range(1, 9)), [i]) for i in range(10, 14)]
    path = folder / "a.plan"
    prompts._write(path, build_plan(pairs, [0, 0, 1, 1], merged=[False] * 4, begin=None, max_length=32, pair_cost=1.0))

    def read() -> object:
        plan = prompts._read(path)
        return NOTICED if plan is None else {name: (str(a.dtype), a.tolist()) for name, a in plan.arrays().items()}

    return [path], read


def checkpoint(folder: Path, _: Path) -> Kept:
    """The state of a training."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    keeper = Keeper(
        Checkpoints(folder / "checkpoint.safetensors", "0" * 16), layer, torch.optim.AdamW(layer.parameters()),
        torch.amp.GradScaler("cpu", enabled=False), torch.device("cpu"),
    )  # fmt: skip
    keeper.save(3, {"rows": [1.5]})
    right = copy.deepcopy(layer.state_dict())

    def read() -> object:
        with torch.no_grad():
            layer.weight.fill_(0)
        state, rng = keeper.restore(), torch.get_rng_state()
        assert state is None or all(torch.equal(layer.state_dict()[name], value) for name, value in right.items())
        return NOTICED if state is None else (state, rng.tolist())

    return [folder / "checkpoint.safetensors"], read


@pytest.mark.parametrize("kind", [study_files, model, rows, digests, tokenised, checkpoint], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("count", [24, pytest.param(120, marks=pytest.mark.slow)])
def test_damage_is_noticed_or_harmless(kind: Callable[[Path, Path], Kept], count: int, tmp_path: Path, cache_dir: Path) -> None:
    files, read = kind(tmp_path, cache_dir)
    rng, right = random.Random(count), read()
    assert right is not NOTICED
    for number in range(count):
        path = rng.choice(files)
        stat, before = path.stat(), path.read_bytes()
        content = bytearray(before)
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content[: bit // 8] if number % 4 == 0 else content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        cache._HERE.clear()  # what a new process does not know
        assert (found := read()) is NOTICED or found == right, f"{path.name}, bit {bit}"
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cache._HERE.clear()
    assert read() == right


def test_a_cached_model_changed_with_the_same_time_is_built_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bit of a weight; the bytes that are loaded are those of the first time."""
    spec = Model.model_validate(yaml.safe_load((conf_dir() / "model" / "tiny_tinyllama.yaml").read_text()))
    file = conversion.prepare(spec, None, tmp_path).folder / "model.safetensors"
    stat, before = file.stat(), file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cache._HERE.clear()
    assert conversion.prepare(spec, None, tmp_path).folder / "model.safetensors" == file
    assert file.read_bytes() == before
    assert "model.safetensors is not what was written there; building this model's folder again" in capsys.readouterr().err
