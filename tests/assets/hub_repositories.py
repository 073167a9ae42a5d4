"""What the Hub holds, in small: every repository that conf/ names, at its pinned commit, with the files that such repositories have."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hub_stand_in import Repository
from safetensors.numpy import save

from olora_bench.assets import made_up
from olora_bench.config import conf_dir

PICKLED = ("facebook/opt-1.3b", "facebook/opt-350m")
SHARDED = ("meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1", "google/gemma-2b")
COLUMNS = ("instruction", "input", "output")


def specs(group: str) -> dict[str, dict[str, Any]]:
    """The YAML files of a group of conf/ that name a repository."""
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((conf_dir() / group).glob("*.yaml"))}
    return {name: spec for name, spec in files.items() if spec.get("hub")}


@functools.cache
def weights(seed: int) -> bytes:
    """A valid safetensors file."""
    return save({f"model.layers.{seed}.self_attn.q_proj.weight": np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32)})


def model_files(name: str, family: str) -> dict[str, bytes]:
    """The files of a model's repository, as such are: copies of the weights in other formats, licences, pictures."""
    files = {n: n.encode() for n in ("README.md", "LICENSE.txt", ".gitattributes", "onnx/model.safetensors", "training_args.h5")}
    files |= {n: b'{"of": "%s"}' % n.encode() for n in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")}
    seed = sum(name.encode())
    files["config.json"] = json.dumps({"model_type": family, "name": name}).encode()
    if name in PICKLED:
        return files | {
            "vocab.json": b'{"a": 0}',
            "merges.txt": b"#",
            "pytorch_model.bin": weights(seed),
            "flax_model.msgpack": b"f",
            "tf_model.h5": b"t",
        }
    files |= {
        "tokenizer.json": b"{}",
        "tokenizer.model": b"m",
        "pytorch_model.bin": b"a pickle",
        "tiny.gguf": b"GGUF",
        "consolidated.safetensors": b"c",
    }
    if name not in SHARDED:
        return files | {"model.safetensors": weights(seed)}
    shards = [f"model-{n:05d}-of-00002.safetensors" for n in (1, 2)]
    index = {"metadata": {}, "weight_map": {f"model.layers.{n}.self_attn.q_proj.weight": shard for n, shard in enumerate(shards)}}
    return files | {"model.safetensors.index.json": json.dumps(index).encode()} | {s: weights(seed + n) for n, s in enumerate(shards)}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def benchmark_files(task: str, config: str | None) -> dict[str, bytes]:
    """A benchmark's splits; the train split in two parts. `config` has a folder of its own, beside another one's."""
    folder, files = config or "data", {"README.md": b"#", "dataset_infos.json": b"{}"}
    for split in ("train", "validation", "test"):
        rows = made_up.rows(task, split)
        cuts = [rows[:20], rows[20:]] if split == "train" else [rows]
        for number, part in enumerate(cuts):
            files[f"{folder}/{split}-{number:05d}-of-{len(cuts):05d}.parquet"] = parquet(part)
    return files | ({"another/train-00000-of-00001.parquet": parquet(made_up.rows(task, "test"))} if config else {})


def data_files(name: str) -> dict[str, bytes]:
    """Instruction data: Alpaca as Parquet with a fourth column, the cleaned one as a list in JSON."""
    rows = [row | {"text": "rendered"} for row in made_up.rows("instructions", "train")]
    if name == "yahma/alpaca-cleaned":
        return {"README.md": b"#", "alpaca_data_cleaned.json": json.dumps(rows).encode()}
    return {"README.md": b"#", "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": parquet(rows)}


@functools.cache
def everything() -> dict[str, Repository]:
    """Every repository of conf/."""
    found: dict[str, Repository] = {}
    for spec in specs("model").values():
        name = spec["hub"]["id"]
        found[name] = Repository(spec["hub"]["revision"], model_files(name, spec["family"]), spec.get("gated", False))
    for spec in specs("benchmark").values():
        name = f"datasets/{spec['hub']['id']}"
        here = found.setdefault(name, Repository(spec["hub"]["revision"], {}))
        here.files |= benchmark_files(spec["task"], spec["hub"].get("config"))
    for spec in specs("data").values():
        found[f"datasets/{spec['hub']['id']}"] = Repository(spec["hub"]["revision"], data_files(spec["hub"]["id"]))
    return found
