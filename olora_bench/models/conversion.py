"""One kind of folder to load from: config.json, safetensors, tokenizer. What comes otherwise is converted once, into the cache.

A folder appears in the cache by a rename, so it is complete or not there; one whose files no longer match what was written is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from olora_bench.assets.cache import sha256_here
from olora_bench.assets.folder import INDEX
from olora_bench.assets.layout import PICKLE, WHOLE
from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable, read_json
from olora_bench.models.tokenizer import BOS, EOS, PAD, SIZE, byte_tokenizer
from olora_bench.models.weights import seeded
from olora_bench.process.progress import Progress, say
from olora_bench.store.record import Json

# Part of every built folder's name: raise it when the code below changes what it writes.
LAYOUT = 1
_MANIFEST = "built.json"
_WEIGHT_FILES = ("*.bin", "*.safetensors", "*.h5", "*.msgpack", "*.pt", "*.pth", "*.gguf", "*.index.json")


@dataclass(frozen=True)
class Source:
    """A folder in Hub layout with safetensors, and in words where its weights came from."""

    folder: Path
    weights: str


def prepare(model: Model, path: Path | None, cache_dir: Path) -> Source:
    """The folder that `model` is loaded from; generated, GGUF and pickled weights are written as safetensors below `cache_dir` first.

    Raises:
        BadInput: the folder holds no weights that can be read.
    """
    if model.generated is not None:
        spec = {key: value for key, value in model.model_dump().items() if key in ("family", "generated", "vocab_size", "context_length")}
        return Source(_built(cache_dir, model.name, spec, lambda target: _generate(model, target)), "generated")
    if path is None or not path.is_dir():
        raise BadInput(
            f"the weights of model {model.name} are not at {path}: give a folder with config.json, *.safetensors and a tokenizer"
        )
    _check_shards(path)
    if (path / "config.json").is_file() and any((path / name).is_file() for name in (WHOLE, INDEX)):
        return Source(path, "safetensors")
    pickles = [path / PICKLE] if (path / PICKLE).is_file() else sorted(path.glob("pytorch_model*.bin"))
    if (path / "config.json").is_file() and pickles:
        folder = _built(cache_dir, model.name, _stamp(pickles), lambda target: _from_pickles(path, pickles, target))
        return Source(folder, "PyTorch pickle read with weights_only=True")
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        folder = _built(cache_dir, model.name, _stamp(ggufs), lambda target: _from_gguf(ggufs[0], target))
        return Source(folder, "GGUF, dequantised to fp32")
    found = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
    raise BadInput(
        f"{path} holds no weights of model {model.name} that can be read (found: {found}). "
        "Allowed: config.json with *.safetensors or pytorch_model*.bin, or exactly one .gguf file"
    )


def _check_shards(folder: Path) -> None:
    """An index is read as it came: the files that it names are files of its folder."""
    for index in folder.glob("*.index.json"):
        if (folder / index.name.removesuffix(".index.json")).is_file():
            continue  # an old index beside a whole file is not read
        try:
            names = set(read_json(index)["weight_map"].values())
        except (Unreadable, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{index} is no index of weight files: {type(error).__name__}: {error}. Fetch the folder again") from error
        if outside := sorted(str(name) for name in names if Path(str(name)).name != name):
            raise BadInput(f"{index} names {outside[0]}, which is no file of its folder: fetch the folder again")


def _generate(model: Model, target: Path) -> None:
    spec = model.generated
    assert spec is not None
    if model.vocab_size < SIZE:
        raise BadInput(f"model.vocab_size={model.vocab_size} is too small for the byte tokenizer of a generated model: at least {SIZE}")
    options: Json = {
        "vocab_size": model.vocab_size,
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": spec.num_hidden_layers,
        "num_attention_heads": spec.num_attention_heads,
        "max_position_embeddings": model.context_length,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    if model.family == "opt":
        options |= {"ffn_dim": spec.intermediate_size, "word_embed_proj_dim": spec.hidden_size}
    else:
        options |= {
            "intermediate_size": spec.intermediate_size,
            "num_key_value_heads": spec.num_key_value_heads,
            "head_dim": spec.head_dim,
        }
    with seeded(spec.seed, torch.device("cpu")):
        built = AutoModelForCausalLM.from_config(AutoConfig.for_model(model.family, **(options | spec.extra)), dtype=torch.float32)
    built.save_pretrained(target)
    byte_tokenizer(model.context_length).save_pretrained(target)


def _from_gguf(file: Path, target: Path) -> None:
    say(f"convert {file.name} to safetensors, once (half a minute for 100 MB)")
    with contextlib.redirect_stderr(io.StringIO()):  # a bar drawn with carriage returns, which a log file cannot show
        # False and not unset: unset, transformers asks at the terminal whether to run code that lies beside the file.
        how: dict[str, str | bool] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **how)
        model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **how)
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)  # the weights are plain fp32 from here on, and save_pretrained refuses otherwise
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _from_pickles(folder: Path, pickles: list[Path], target: Path) -> None:
    """The same tensors in the same dtype, shard by shard."""
    where: dict[str, str] = {}
    with Progress("convert pickled weights", len(pickles), unit="files") as progress:
        for number, file in enumerate(pickles, 1):
            try:
                tensors = torch.load(file, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                raise BadInput(
                    f"{file} cannot be read with weights_only=True, so it is not read at all: {error}. Fetch the folder again"
                ) from error
            name = f"model-{number:05d}-of-{len(pickles):05d}.safetensors"
            # Tied weights share storage in a pickle, which safetensors refuses: each name gets bytes of its own.
            save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, target / name, metadata={"format": "pt"})
            where |= dict.fromkeys(tensors, name)
            progress.advance()
    index = {"metadata": {}, "weight_map": where}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for file in folder.iterdir():
        if file.is_file() and not any(file.match(pattern) for pattern in _WEIGHT_FILES):
            shutil.copy(file, target / file.name)


def _stamp(files: list[Path]) -> Json:
    return {str(file.resolve()): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def _built(cache_dir: Path, name: str, spec: Json, build: Callable[[Path], None]) -> Path:
    """The cache folder for `spec`, built if it is not there or no longer what was written."""
    digest = hashlib.sha256(json.dumps([LAYOUT, spec], sort_keys=True, default=str).encode()).hexdigest()[:12]
    home = cache_dir / "models"
    folder = home / f"{name}-{digest}"
    if folder.is_dir():
        wrong = _damaged(folder)
        if wrong is None:
            return folder
        say(f"{folder}: {wrong} is not what was written there; building this model's folder again")
        shutil.rmtree(folder)
    home.mkdir(parents=True, exist_ok=True)
    _sweep_up(home)
    working = home / f".{folder.name}.{socket.gethostname()}.{os.getpid()}"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    try:
        build(working)
        _write_manifest(working)
        try:
            working.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise  # otherwise another process was first, with the same bytes
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return folder


def _sweep_up(home: Path) -> None:
    """Remove what builds of this machine left behind when they were killed."""
    for left in home.glob(f".*.{socket.gethostname()}.*"):
        if not psutil.pid_exists(int(left.name.rsplit(".", 1)[1])):
            shutil.rmtree(left, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            os.fsync(handle.fileno())
        files[file.name] = {"size": file.stat().st_size, "sha256": digest}
    with (folder / _MANIFEST).open("w", encoding="utf-8") as handle:
        json.dump(files, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())


def _damaged(folder: Path) -> str | None:
    """The first file that is not what was written. Each is read once a process, and again when it was touched."""
    try:
        files = read_json(folder / _MANIFEST)
        listed = {str(name): (written["size"], written["sha256"]) for name, written in files.items()}
    except (Unreadable, TypeError, KeyError, AttributeError):
        return _MANIFEST
    for name, (length, digest) in listed.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != length or sha256_here(file) != digest:
            return name
    return None
