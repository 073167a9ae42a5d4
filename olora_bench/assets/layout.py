"""Where rows and weights lie inside a folder in Hub layout, or among `<split>.parquet` files. One set of rules for `local` and `hub`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from olora_bench.config import Benchmark, Data, Model
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable, read_json

ENDINGS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
_NO_ROWS = {"dataset_info.json", "dataset_infos.json", "state.json", "config.json"}
# The words by which the `datasets` library knows a split, and what may stand between words.
_WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")
_SHARD = re.compile(r"^(.*-)(\d+)-of-(\d+)")

WHOLE, PICKLE = "model.safetensors", "pytorch_model.bin"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLES = ("*.bin", "*.bin.index.json")
BESIDE_WEIGHTS = ("config.json", "generation_config.json", "*token*.json", "vocab.json", "merges.txt", "*.model", "*.jinja")


def splits_of(spec: Benchmark | Data) -> tuple[str, ...]:
    """The splits an asset has: of instruction data `train` and those that are held-out parts; an unlabelled Hub test split is left out."""
    return tuple(spec.part_of_split) if isinstance(spec, Data) else tuple(dict.fromkeys(("train", "validation", spec.report_split)))


def split_said(name: str) -> str | None:
    """The split that a relative file name says, or null: by a word of the file's own name, else of its folder's, and so on upwards.

    >>> [split_said(n) for n in ("my-train.jsonl", "dev/part.csv", "rows.json", "train_and_test.csv")]
    ['train', 'validation', None, 'train and test']
    """
    for part in reversed(name.lower().split("/")):
        words = set(_BETWEEN_WORDS.split(part))
        if said := [split for split, known in _WORDS.items() if words & known]:
            return " and ".join(said)
    return None


def pick(names: Iterable[str], config: str | None, splits: Iterable[str]) -> dict[str, list[str]]:
    """The files of each split among relative file names, shards in order; a split without a file is left out.

    A split is what a file's name says. Only where nothing but `train` is wanted, one file (or one set of shards) that says no split is it.

    Args:
        config: the folder of the configuration that is wanted; where there is none of that name, files at the top and in `data/` are it.

    Raises:
        BadInput: the files of a split lie in several folders or formats, shards are missing or doubled, or it is unclear which is meant.

    >>> pick(["README.md", "easy/train-00000-of-00001.parquet", "hard/train-00000-of-00001.parquet"], "easy", ["train", "test"])
    {'train': ['easy/train-00000-of-00001.parquet']}
    >>> pick(["hellaswag.py", "train_reconstructed.parquet", "validation.parquet"], None, ["train", "validation"])
    {'train': ['train_reconstructed.parquet'], 'validation': ['validation.parquet']}
    """
    files = row_files(names)
    if config is not None:
        own = [n for n in files if n.startswith(f"{config}/")]
        files = own or [n for n in files if n.rpartition("/")[0] in ("", "data")]
    said = {n: split_said(n.removeprefix(f"{config}/")) for n in files}
    wanted = tuple(splits)
    found = {split: hits for split in wanted if (hits := [n for n in files if said[n] == split])}
    if wanted == ("train",) and not found and (unnamed := [n for n in files if said[n] is None]):
        if len(unnamed) > 1 and not all(_SHARD.match(n) for n in unnamed):
            raise BadInput(
                f"none of {', '.join(unnamed)} says its split, and only one of them can be taken for train: "
                "name the files to train on train*, or take the others away"
            )
        found = {"train": unnamed}
    found = {split: _without_dev(split, hits) for split, hits in found.items()}
    for split, hits in found.items():
        _check_whole(split, hits)
    return found


def _without_dev(split: str, files: list[str]) -> list[str]:
    """A `dev` beside a `validation` is another split, as MMLU's few examples are, and not the same rows again."""
    words = {name: set(_BETWEEN_WORDS.split(name.rpartition("/")[2].lower())) for name in files}
    own = [name for name in files if split in words[name]]
    return own if own and all("dev" in words[name] for name in files if name not in own) else files


def row_files(names: Iterable[str]) -> list[str]:
    """The names of files of rows among relative file names, sorted; what is hidden or describes a data set is none."""
    return sorted(
        n
        for n in names
        if n.endswith(ENDINGS) and n.rpartition("/")[2] not in _NO_ROWS and not any(part.startswith(".") for part in n.split("/"))
    )


def _check_whole(split: str, files: list[str]) -> None:
    """Refuse files that may hold the same rows twice, or not all of them."""
    folders = sorted({n.rpartition("/")[0] or "." for n in files})
    if len(folders) > 1:
        raise BadInput(f"the {split} split lies in several folders ({', '.join(folders)}): keep one, they may be copies of the same rows")
    if len({n.rpartition(".")[2] for n in files}) > 1:
        raise BadInput(f"the {split} split is there in several formats ({', '.join(files)}): keep one, they may be copies of the same rows")
    shards = [match for n in files if (match := _SHARD.match(n))]
    if not shards:
        return
    numbers, totals = [int(m[2]) for m in shards], {int(m[3]) for m in shards}
    if len(shards) < len(files) or len({m[1] for m in shards}) > 1 or len(totals) > 1 or len(set(numbers)) < len(numbers):
        raise BadInput(f"the {split} split is there more than once ({', '.join(files)}): keep one file, or one set of shards")
    if absent := sorted(set(range(max(totals))) - set(numbers)):
        raise BadInput(f"{len(absent)} of the {max(totals)} shards of the {split} split are missing (the first is number {absent[0]})")


def beside(spec: Data) -> str | None:
    """That the folder at `path` holds files of a validation or test split which are in no part, and the keys that use them."""
    place = None if spec.path is None else Path(spec.path).expanduser().absolute()
    if place is None or not place.is_dir():
        return None
    said = {name: split_said(name) for name in _names_in(place)}
    options = {"validation": "tune", "test": "report"}
    offered = {split: part for split, part in options.items() if part not in spec.own_parts and split not in splits_of(spec)}
    unused = {name: split for name, split in said.items() if split in offered}
    if not unused:
        return None
    how = " ".join(f"data.{offered[split]}_split={split}" for split in offered if split in unused.values())
    return f"data.path={spec.path}: not used: {', '.join(unused)}. To use {'it' if len(unused) == 1 else 'them'}: {how}"


def find_rows(spec: Benchmark | Data, local_dir: Path | None) -> dict[str, list[Path]]:
    """The files of each split: at a data set's own `path`, else below `local_dir`, `<hub id>/` in Hub layout first, then the spec's own
    `local`. May be empty.

    Raises:
        BadInput: nothing lies at `path`; there are files of rows and none can be taken for a split that is wanted, or as `pick`.
    """
    hub, name = spec.hub, spec.local
    if isinstance(spec, Data) and spec.path is not None:
        held_out = {part: path for part in spec.own_parts if (path := getattr(spec, f"{part}_path")) is not None}
        return _at("path", spec.path, splits_of(spec)) | {part: _at(f"{part}_path", path)["train"] for part, path in held_out.items()}
    if local_dir is None:
        return {}
    places = ([(local_dir / hub.id, hub.config)] if hub else []) + ([(local_dir / name, None)] if name else [])
    passed_over = ""
    for place, config in places:
        names, folder = _names_in(place), place.parent if place.is_file() else place
        try:
            found = pick(names, config, splits_of(spec))
        except BadInput as error:
            raise BadInput(f"{folder}: {error}") from error
        if found:
            _refuse_beside_unnamed(folder, found)
            return {split: [folder / n for n in hits] for split, hits in found.items()}
        if names:
            passed_over = passed_over or f"{folder} has {', '.join([*names, *no_rows_in(folder)][:8])}"
    if passed_over:
        raise BadInput(
            f"{passed_over}, and no file whose name says {' or '.join(splits_of(spec))}"
            f"{f' (of the configuration {hub.config})' if hub and hub.config else ''}. "
            "Rename the one that is meant, e.g. train.jsonl, validation.csv, test-00000-of-00002.parquet"
        )
    return {}


def _at(key: str, path: str, splits: tuple[str, ...] = ("train",)) -> dict[str, list[Path]]:
    """The file that is named, or those of a folder that are of these splits."""
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise BadInput(f"data.{key}={path}: there is no {place}. Name a file of rows ({', '.join(ENDINGS)}) or a folder with one")
    if place.is_file():
        _names_in(place)
        if len(splits) > 1:
            raise BadInput(
                f"data.{key}={path} is one file, and {' and '.join(splits[1:])} {'are splits' if len(splits) > 2 else 'is a split'} of a "
                "folder. Name the folder, or the other files: data.tune_path=FILE data.report_path=FILE"
            )
        return {"train": [place]}
    found = pick(_names_in(place), None, splits)
    if absent := [split for split in splits if split not in found]:
        raise BadInput(f"data.{key}={path}: no file of rows in it is of the {' or '.join(absent)} split. Name the file")
    return {split: [place / name for name in names] for split, names in found.items()}


def _refuse_beside_unnamed(folder: Path, found: dict[str, list[str]]) -> None:
    """A file that says no split is not taken for train where a file of train lies beside it and cannot be read."""
    taken = found.get("train", [])
    if any(split_said(n) for n in taken):
        return
    better = [n for n in no_rows_in(folder) if split_said(n) == "train" and any(ending in n.lower() for ending in ENDINGS)]
    if taken and better:
        raise BadInput(
            f"{folder} has {', '.join(better)}, which is no file of rows (allowed endings: {', '.join(ENDINGS)}), and {', '.join(taken)}, "
            "which says no split. Unpack, convert or rename the one that is meant to e.g. train.jsonl, or take the other away"
        )


def _names_in(place: Path) -> list[str]:
    """The files of rows at a place, relative to it (to its folder, where it is a file)."""
    if place.is_file():
        if not place.name.endswith(ENDINGS):
            raise BadInput(f"{place} is no file of rows. Allowed endings: {', '.join(ENDINGS)}")
        return [place.name]
    return row_files(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()) if place.is_dir() else []


def no_rows_in(place: Path) -> list[str]:
    """What lies at a place and is no file of rows, what says a split first: other endings, links to nothing, folders named as files."""
    if place.is_symlink() and not place.exists():
        return [f"{place.name} (a link to nothing)"]
    found = {p.relative_to(place).as_posix(): p for p in place.rglob("*")} if place.is_dir() else {}
    names = [n for n, p in found.items() if not p.is_dir() or n.endswith(ENDINGS)]
    names = [n for n in names if not (n in _NO_ROWS or any(part.startswith(".") for part in n.split("/")))]
    kept = [n for n in names if not (found[n].is_file() and n.endswith(ENDINGS))]
    return [n + _kind_said(found[n]) for n in sorted(kept, key=lambda n: (split_said(n) is None, n))]


def _kind_said(path: Path) -> str:
    return " (a folder)" if path.is_dir() else "" if path.is_file() else " (a link to nothing)" if path.is_symlink() else " (no file)"


def rows_passed_over(spec: Benchmark | Data, local_dir: Path) -> dict[Path, str]:
    """The places below `local_dir` that are the asset's by their name and hold no file of rows, each with what is there."""
    places = [local_dir / name for name in ([spec.hub.id] if spec.hub else []) + ([spec.local] if spec.local else [])]
    seen = {place: no_rows_in(place) for place in places if not place.is_file()}
    allowed = f"allowed endings: {', '.join(ENDINGS)}"
    return {place: f"no file of rows is there, only {_few(names)} ({allowed})" for place, names in seen.items() if names}


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def find_model(model: Model, local_dir: Path | None) -> Path | None:
    """A folder with the model: its own `local`, or below `local_dir`, under its Hub id or its name here."""
    return next((folder for folder in _model_places(model, local_dir) if model_problem(folder) is None), None)


def passed_over(model: Model, local_dir: Path | None) -> dict[Path, str]:
    """The folders, below `local_dir` and its own, that are the model's by their name and cannot be loaded, each with the reason."""
    problems = {folder: model_problem(folder) for folder in _model_places(model, local_dir) if folder.is_dir()}
    return {folder: problem for folder, problem in problems.items() if problem is not None}


def absent(folder: Path) -> dict[Path, str]:
    """That there is no such folder, as `passed_over` says it."""
    return {} if folder.is_dir() else {folder: "there is no such folder"}


def _model_places(model: Model, local_dir: Path | None) -> list[Path]:
    own = [] if model.local is None else [Path(model.local)]
    if local_dir is None:
        return [place for place in own if place.is_absolute()]
    named = [model.hub.id, model.name] if model.hub else [model.name]
    return [local_dir / place for place in (*own, *map(Path, named))]


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
        shards = sorted(set(read_json(index)["weight_map"].values()))
        absent = [s for s in shards if not (index.parent / s).is_file()]
    except Unreadable as error:
        return f"{index.name} cannot be read ({error.reason})"
    except (KeyError, TypeError, AttributeError) as error:
        return f"{index.name} cannot be read ({type(error).__name__}: {error})"
    return f"{len(absent)} of {len(shards)} weight files are missing ({absent[0]})" if absent else None
