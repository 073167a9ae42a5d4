"""Where rows and weights lie inside a folder in Hub layout, or among `<split>.parquet` files. One set of rules for `local` and `hub`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from olora_bench.config import Benchmark, Data, Model
from olora_bench.errors import BadInput

_WORDS = {"train": "train", "validation": "validation|valid|val|dev", "test": "test"}
_ENDINGS = (".parquet", ".jsonl", ".json")
_NO_ROWS = {"dataset_info.json", "dataset_infos.json", "state.json", "config.json"}
INSTRUCTION_COLUMNS = ("instruction", "input", "output")

WHOLE, PICKLE = "model.safetensors", "pytorch_model.bin"
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
    return next((folder for folder in _model_places(model, local_dir) if model_problem(folder) is None), None)


def passed_over(model: Model, local_dir: Path) -> dict[Path, str]:
    """The folders below `local_dir` that are the model's by their name and cannot be loaded, each with the reason."""
    problems = {folder: model_problem(folder) for folder in _model_places(model, local_dir) if folder.is_dir()}
    return {folder: problem for folder, problem in problems.items() if problem is not None}


def _model_places(model: Model, local_dir: Path) -> list[Path]:
    return [local_dir / name for name in ([model.hub.id] if model.hub else []) + [model.name]]


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that loading reads: configuration, tokenizer, weights (pickles only where there is nothing safer)."""

    def listed(patterns: tuple[str, ...]) -> set[Path]:
        return {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}

    return sorted(listed(BESIDE_WEIGHTS) | (listed(WEIGHTS) or listed(("*.gguf",)) or listed(PICKLES)))


def model_problem(folder: Path) -> str | None:
    """Why a folder cannot be loaded as a model, or None: one `.gguf` file, or config.json, all weight files and a tokenizer.

    A whole file is taken before an index of shards, as transformers does: an old index beside it says nothing.
    """
    if not folder.is_dir():
        return "there is no such folder"
    ggufs = len(list(folder.glob("*.gguf")))
    dense = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    if ggufs and not ((folder / "config.json").is_file() and dense):
        return None if ggufs == 1 else f"there are {ggufs} .gguf files, and which of them is meant is not said: keep one"
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if not dense:
        return "there are no weights (*.safetensors)"
    if (problem := _weights_problem(folder)) is not None:
        return problem
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return "there is no tokenizer (tokenizer.json, tokenizer.model or vocab.json)"
    return None


def _weights_problem(folder: Path) -> str | None:
    for whole in (WHOLE, PICKLE):
        index = folder / f"{whole}.index.json"
        if (folder / whole).is_file():
            return None
        if index.is_file():
            return _index_problem(index)
    found = ", ".join(sorted(p.name for kind in ("*.safetensors", "*.bin") for p in folder.glob(kind))[:3])
    return f"there is neither {WHOLE} nor {WHOLE}.index.json, which says what is in {found}"


def _index_problem(index: Path) -> str | None:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{index.name} cannot be read ({type(error).__name__}: {error})"
    absent = [s for s in shards if not (index.parent / s).is_file()]
    return f"{len(absent)} of {len(shards)} weight files are missing ({absent[0]})" if absent else None


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
