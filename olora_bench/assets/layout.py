"""Where rows and weights lie inside a folder in Hub layout, or among `<split>.parquet` files. One set of rules for `local` and `hub`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from olora_bench.config import Benchmark, Data, Model
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable, read_json

_WORDS = {"train": "train", "validation": "validation|valid|val|dev", "test": "test"}
_ENDINGS = (".parquet", ".jsonl", ".json")
_NO_ROWS = {"dataset_info.json", "dataset_infos.json", "state.json", "config.json"}
INSTRUCTION_COLUMNS = ("instruction", "input", "output")

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLES = ("*.bin", "*.bin.index.json")
BESIDE_WEIGHTS = ("config.json", "generation_config.json", "*token*.json", "vocab.json", "merges.txt", "*.model", "*.jinja")


def splits_of(spec: Benchmark | Data) -> tuple[str, ...]:
    """The splits an asset has: instruction data has only `train`; an unlabelled Hub test split is left out."""
    return ("train",) if isinstance(spec, Data) else tuple(dict.fromkeys(("train", "validation", spec.report_split)))


def pick(names: Iterable[str], config: str | None, splits: Iterable[str]) -> dict[str, list[str]]:
    """The files of each split among relative file names, shards in order; a split without a file is left out.

    Raises:
        BadInput: the shards of a split lie in more than one folder, so they may be copies.

    >>> pick(["README.md", "easy/train-00000-of-00001.parquet", "hard/train-00000-of-00001.parquet"], "easy", ["train", "test"])
    {'train': ['easy/train-00000-of-00001.parquet']}
    >>> pick(["hellaswag.py", "train_reconstructed.parquet", "validation.parquet"], None, ["train", "validation"])
    {'train': ['train_reconstructed.parquet'], 'validation': ['validation.parquet']}
    """
    files = sorted(n for n in names if n.endswith(_ENDINGS) and n.rpartition("/")[2] not in _NO_ROWS and not n.startswith("."))
    if config is not None and any(n.startswith(f"{config}/") for n in files):
        files = [n for n in files if n.startswith(f"{config}/")]
    for ending in _ENDINGS:
        same = [n for n in files if n.endswith(ending)]
        found = {
            s: hits for s in splits if (hits := [n for n in same if re.search(rf"(^|/)({_WORDS[s]})([-_./][^/]*)?{re.escape(ending)}$", n)])
        }
        if not found and same and tuple(splits) == ("train",):
            found = {"train": same}
        for split, hits in found.items():
            folders = sorted({n.rpartition("/")[0] or "." for n in hits})
            if len(folders) > 1:
                raise BadInput(
                    f"the {split} split lies in several folders ({', '.join(folders)}): keep one, they may be copies of the same rows"
                )
        if found:
            return found
    return {}


def find_rows(spec: Benchmark | Data, local_dir: Path) -> dict[str, list[Path]]:
    """The files of each split below `local_dir`: `<hub id>/` in Hub layout first, then the spec's own `local`. May be empty."""
    hub, name = spec.hub, spec.local
    places = ([(local_dir / hub.id, hub.config)] if hub else []) + ([(local_dir / name, None)] if name else [])
    for place, config in places:
        if place.is_file():
            return {"train": [place]}
        names = [p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()] if place.is_dir() else []
        if found := pick(names, config, splits_of(spec)):
            return {split: [place / n for n in hits] for split, hits in found.items()}
    return {}


def find_model(model: Model, local_dir: Path) -> Path | None:
    """A folder with the model below `local_dir`, under its Hub id or its name here."""
    for name in ([model.hub.id] if model.hub else []) + [model.name]:
        if model_problem(local_dir / name) is None:
            return local_dir / name
    return None


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that loading reads: configuration, tokenizer, weights (pickles only where there is nothing safer)."""

    def listed(patterns: tuple[str, ...]) -> set[Path]:
        return {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}

    return sorted(listed(BESIDE_WEIGHTS) | (listed(WEIGHTS) or listed(("*.gguf",)) or listed(PICKLES)))


def model_problem(folder: Path) -> str | None:
    """Why a folder cannot be loaded as a model, or None: a `.gguf` file, or config.json, all weight shards and a tokenizer."""
    if not folder.is_dir():
        return "there is no such folder"
    if any(folder.glob("*.gguf")):
        return None
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    for index in (
        *folder.glob("*.safetensors.index.json"),
        *([] if any(folder.glob("*.safetensors")) else folder.glob("*.bin.index.json")),
    ):
        try:
            shards = sorted(set(read_json(index)["weight_map"].values()))
            absent = [s for s in shards if not (folder / s).is_file()]
        except (Unreadable, KeyError, TypeError, AttributeError) as error:
            return f"{index.name} is no list of weight files ({error})"
        if absent:
            return f"{len(absent)} of {len(shards)} weight files are missing ({absent[0]})"
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        return "there are no weights (*.safetensors)"
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return "there is no tokenizer (tokenizer.json, tokenizer.model or vocab.json)"
    return None


def read_rows(files: list[Path], columns: tuple[str, ...] | None = None) -> Any:
    """A pyarrow table of the rows of all `files` (parquet, JSON lines or a JSON list), in order.

    Raises:
        BadInput: a file cannot be read as what its name says, or a column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in files:
        try:
            if file.suffix == ".parquet":
                table = pq.read_table(file)
            else:
                text = file.read_text(encoding="utf-8")
                table = pa.Table.from_pylist([json.loads(x) for x in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text))
            tables.append(table.select(list(columns)) if columns else table)
        except (pa.ArrowInvalid, ValueError, TypeError, KeyError) as error:
            wanted = f" with the columns {', '.join(columns)}" if columns else ""
            raise BadInput(f"{file} cannot be read as rows{wanted}: {error}") from error
    return pa.concat_tables(tables)
