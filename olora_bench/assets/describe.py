"""A model without a YAML: `model=hub:org/name[@commit]` and `model=local:FOLDER`, described by its `config.json`. No torch here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from olora_bench.assets import hub
from olora_bench.config import HubSource, conf_dir
from olora_bench.config.grammar import hub_id
from olora_bench.config.lines import typed
from olora_bench.config.sources import NAME
from olora_bench.errors import BadInput, MissingAssets, StoreError
from olora_bench.formats import Unreadable, parse_json, read_bytes
from olora_bench.process.progress import say
from olora_bench.store import atomic_write
from olora_bench.store.sealed import digest_of

Node = dict[str, Any]
"""The `model` node of a config."""
_CODE = Path(__file__).parent.parent / "models" / "described.py"


@cache
def described(text: str) -> Node:
    """The model that `hub:org/name[@commit]` or `local:FOLDER` names.

    Raises:
        BadInput: it is written otherwise, the folder or its config.json is not there, or transformers has no such model of text.
        MissingAssets: config.json is not in the Hub library's cache and cannot be fetched.
    """
    kind, _, place = text.partition(":")
    node = _of_hub(place) if kind == "hub" else _of_folder(place)
    folder = Path(node.pop("folder"))
    facts = _facts(folder)
    if isinstance(facts, str):
        raise BadInput(
            f"model={text} cannot be run here: {facts}. Allowed: a causal language model of text that transformers loads by itself, with "
            "plain torch.nn.Linear layers"
        )
    return {**node, **facts, "note": f"described from its config.json by transformers {version('transformers')}"}


def write_yaml(text: str, file: Path) -> str:
    """Keep the description of the model that `text` names as a file of a config group; returns in words what was written.

    Raises:
        BadInput: the file is there already or its name is none of an option, or as for `described`.
        StoreError: it cannot be written.
    """
    import yaml

    if file.suffix != ".yaml" or not re.fullmatch(NAME, file.stem):
        raise BadInput(f"{file} is not allowed: a file NAME.yaml, e.g. conf/model/my_model.yaml")
    if file.exists():
        raise BadInput(f"{file} is there already: give another name, or move it away")
    node = {**described(text), "name": file.stem}
    if (source := node.get("hub")) is not None:
        node["hub"] = {**source, "revision": hub.commit_of(HubSource(**source), "model")}
    text = "".join(
        [
            f"# {node['name'][0].upper()}{node['name'][1:]}, {node['family']} with {node['parameters']} parameters, {node['note']}.\n",
            f"# Use:      python -m olora_bench model={node['name']}\n",
            f"# Override: python -m olora_bench model={node['name']} init=olora rank=8\n",
            yaml.safe_dump(node, sort_keys=False, allow_unicode=True, width=140),
        ]
    )
    atomic_write(file, text.encode())
    return f"{file} describes {node['name']}: {_how_to_use(file)}"


def _how_to_use(file: Path) -> str:
    """The command that finds a model's YAML where it was written, or where it has to go first."""
    group = file.absolute().parent
    if group == conf_dir() / "model":
        return typed("olora_bench", f"model={file.stem}")
    if group.name == "model":
        return shlex.join(["python", "-m", "olora_bench", "--config-dir", str(file.parent.parent), f"model={file.stem}"])
    return f"put it into a folder model/, then python -m olora_bench --config-dir FOLDER_ABOVE model={file.stem}"


def _of_hub(place: str) -> Node:
    name, _, revision = place.partition("@")
    try:
        hub_id(name)
    except ValueError as error:
        raise BadInput(f"model=hub:{place} is not allowed: {error}. Write hub:org/name, or hub:org/name@COMMIT") from None
    if "@" in place and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise BadInput(
            f"model=hub:{place} is not allowed: after @ stands a full commit, 40 hexadecimal digits, "
            f"as https://huggingface.co/{name}/commits/main lists them. Leave @{revision} out to take today's"
        )
    source = HubSource(id=name, revision=revision or None)
    try:
        folder = hub.fetch_config(source)
    except MissingAssets as error:
        raise MissingAssets(
            f"model=hub:{place} is described by its config.json, which is not here: {error}. `hf download {name} config.json` with a "
            "connection (and HF_HOME brought here) brings it; or give a folder: model=local:FOLDER"
        ) from None
    return {
        "name": hub.described_name(name), "hub": {"id": name, "revision": source.revision}, "folder": folder,
        "licence": f"as https://huggingface.co/{name} says",
    }  # fmt: skip


def _of_folder(place: str) -> Node:
    folder = Path(os.path.expanduser(place)).absolute()  # noqa: PTH111 (Path's own raises where a file is merely called ~something)
    if not place or not (folder / "config.json").is_file():
        why = "holds no config.json" if folder.is_dir() else "is no folder"
        raise BadInput(
            f"model=local:{place}: {folder if place else 'nothing'} {why}. Give a folder as `save_pretrained` writes it: config.json, "
            "*.safetensors and a tokenizer"
        )
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", folder.name).lstrip("_.+-")[:100] or "model"
    return {"name": name, "local": str(folder), "folder": folder, "licence": "not said"}


@cache
def _facts(folder: Path) -> Node | str:
    """What `models.described` prints of a folder's config.json, kept by a digest of both; or why there is nothing to print."""
    content = read_bytes(folder / "config.json") or b""
    try:
        config = parse_json(content, folder / "config.json")
    except Unreadable as error:
        return error.reason
    key = digest_of([config, version("transformers"), _CODE.read_text(encoding="utf-8")])[:16]
    kept = Path(os.path.expanduser(os.environ.get("OLORA_BENCH_CACHE", "~/.cache/olora_bench"))) / "described" / f"{key}.json"  # noqa: PTH111
    with suppress(Unreadable):
        if (known := read_bytes(kept)) is not None:
            return dict(parse_json(known, kept))
    say(f"describe {folder.name}: reading its config.json, once")
    facts = _asked(folder)
    if not isinstance(facts, str):
        with suppress(StoreError):  # only a memory
            atomic_write(kept, json.dumps(facts).encode())
    return facts


def _asked(folder: Path) -> Node | str:
    """The answer of `models.described`, in a process of its own: nothing here imports torch."""
    done = subprocess.run([sys.executable, "-m", "olora_bench.models.described", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2] or f"the process that reads config.json ended with {done.returncode}"
    return dict(json.loads(done.stdout.strip().rpartition("\n")[2]))
