"""`python -m olora_bench.study.migrate RESULTS`: results of RESULTS_VERSION 2 under the ids of version 3. No number is touched.

Version 3 puts into an id what decides numbers and lives in one file: an init's code, a template's text, the values of benchmark YAMLs. The
first two are read from git at the commit that made each record; it must be in this checkout's history. Records, manifests and locks get
schema 2, with a digest of themselves and of their parts.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from olora_bench.config.templates import Template
from olora_bench.errors import BadInput
from olora_bench.identity import cell_key, digest, family_key
from olora_bench.identity.code import init_digest
from olora_bench.identity.ids import BENCHMARK_DECIDES
from olora_bench.store import Part, atomic_write, sealed
from olora_bench.study.expand import find_study
from olora_bench.study.names import declaration_of, place_of

FROM, TO = 2, 3
Values = Mapping[str, JsonValue]
"""A table of a record's JSON, passed on as it is."""
_TEMPLATES = {"author_no_input": (None, "_AUTHOR"), "author_with_input": ("_ALPACA_WITH_INPUT", "_ALPACA")}
_TRAINED_ON = frozenset({"task", "version", "report_split"})
_SCHEMA = {"schema_version": 2}
_PARTS = {
    "train_id": {"curve": "curve.parquet", "adapter": "adapter.safetensors"},
    "eval_id": {"items": "items.parquet", "generations": "generations.parquet"},
}


def migrate(results: Path) -> int:
    """Give every run and evaluation below a results folder its id of version 3; returns how many runs were moved.

    Folders are renamed, ids in records and manifests replaced, and each record says in its provenance which id it had. Reports are left:
    make them again.

    Raises:
        BadInput: a record is of local changes or of a commit that git does not have, so nothing tells which code made it.
    """
    records = [(path, json.loads(path.read_bytes())) for path in sorted(results.glob("runs/*/record.json"))]
    records = [(path, raw) for path, raw in records if raw["identity"]["results_version"] == FROM]
    benchmarks = {name: values for _, raw in records for name, values in raw["config"]["benchmarks"].items()}
    new: dict[str, str] = {}
    for path, raw in records:
        _move_run(path, raw, benchmarks, new)
    for path in sorted(results.glob("base/*/evals/*/record.json")):
        _move_eval(path, benchmarks, new)
    for path in sorted(results.glob("*/manifest.json")):
        manifest, file = _replaced(json.loads(path.read_bytes()), new), find_study(path.parent.name)
        atomic_write(path, sealed(manifest | _SCHEMA | {"file": place_of(file, results), "declaration": declaration_of(file)}))
    for path in sorted(results.glob("*/lock.json")):
        atomic_write(path, sealed(json.loads(path.read_bytes()) | _SCHEMA))
    return len(records)


def _move_run(path: Path, raw: dict[str, Any], benchmarks: Mapping[str, Values], new: dict[str, str]) -> None:
    old, identity = raw["identity"], _train(raw, benchmarks)
    new |= {raw["train_id"]: digest(identity), cell_key(old): cell_key(identity), family_key(old): family_key(identity)}
    for evaluation in sorted(path.parent.glob("evals/*/record.json")):
        _move_eval(evaluation, benchmarks, new)
    _rewrite(path, raw, "train_id", identity)


def _move_eval(path: Path, benchmarks: Mapping[str, Values], new: dict[str, str]) -> None:
    raw = json.loads(path.read_bytes())
    identity = _replaced(raw["identity"], new) | {"results_version": TO}
    tasks = {name: _only(benchmarks[name], BENCHMARK_DECIDES) for name in identity["suite"]["benchmarks"]}
    identity["suite"] = identity["suite"] | {"benchmarks": tasks}
    if "data" in identity:
        identity["data"] = _data(identity["data"], benchmarks, _commit(raw))
    new[raw["eval_id"]] = digest(identity)
    if raw["train_id"] is not None:
        raw["train_id"] = new[raw["train_id"]]
    _rewrite(path, raw, "eval_id", identity)


def _rewrite(path: Path, raw: dict[str, Any], key: str, identity: Values) -> None:
    raw["provenance"]["migrated"] = {"from": raw[key], "results_version": FROM}
    there = {kind: path.with_name(name) for kind, name in _PARTS[key].items() if path.with_name(name).exists()}
    parts = {kind: Part.of(file.name, file.read_bytes()).model_dump() for kind, file in there.items()}
    raw |= _SCHEMA | {"identity": identity, key: digest(identity), "parts": parts}
    atomic_write(path, sealed(raw))
    path.parent.rename(path.parent.with_name(raw[key]))


def _train(raw: Mapping[str, Any], benchmarks: Mapping[str, Values]) -> dict[str, Any]:
    old, commit = raw["identity"], _commit(raw)
    code = init_digest(old["init"]["module"], lambda name: _show(commit, f"olora_bench/inits/{name}.py"))
    return {
        **old,
        "results_version": TO,
        "init": {**old["init"], "code": code},
        "data": _data(old["data"], benchmarks, commit),
    }


def _data(old: Mapping[str, Any], benchmarks: Mapping[str, Values], commit: str) -> dict[str, JsonValue]:
    text = {} if old["template"] is None else {"template_text": _template(commit, old["template"])}
    named = dict.fromkeys((*old["benchmarks"], *old["decontaminate"]))
    return {**old, **text, "tasks": {name: _only(benchmarks[name], _TRAINED_ON) for name in named}}


@cache
def _template(commit: str, name: str) -> str:
    tree = ast.parse(_show(commit, "olora_bench/data/items.py"))
    texts = {
        target.id: str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    with_input, without_input = _TEMPLATES[name]
    return digest(Template(None if with_input is None else texts[with_input], texts[without_input])._asdict())


def _commit(raw: Mapping[str, Any]) -> str:
    harness = raw["provenance"]["harness"]
    if harness["commit"] is None or harness["dirty"]:
        raise BadInput(f"run {raw.get('train_id')}: its code is no commit ({harness}): what decided its numbers is not known. Run it again")
    return str(harness["commit"])


@cache
def _show(commit: str, file: str) -> str:
    found = subprocess.run(["git", "show", f"{commit}:{file}"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    if found.returncode:
        raise BadInput(f"git has no {file} of commit {commit}: {found.stderr.strip()}. Fetch the whole history")
    return found.stdout


def _only(values: Values, keys: frozenset[str]) -> dict[str, JsonValue]:
    return {key: values[key] for key in values if key in keys}


def _replaced(value: Any, new: Mapping[str, str]) -> Any:
    """The value with every id in it exchanged; evaluations of runs that were never made have none to take."""
    if isinstance(value, Mapping):
        return {key: _replaced(one, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, new) for one in value]
    return new.get(value, value) if isinstance(value, str) else value


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(f"{folder}: {migrate(Path(folder))} runs moved to ids of RESULTS_VERSION {TO}")
