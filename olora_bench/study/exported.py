"""`python -m olora_bench.study export NAME --to FOLDER`: a study's records for other tools: lm-eval's files, and tidy tables.

FOLDER/<role>/<model>/<arm>/rank<r>/lr<lr>/seed<s>/results_<date>.json, samples_<task>_<date>.jsonl
FOLDER/{items,scores,curves}.parquet    one row an item, a score, a step
FOLDER/study.yaml                       what `python -m olora_bench.study import` reads the runs by that carry the verdict
FOLDER/shared.yaml                      the same of a tuned study's runs at the shared rate
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from olora_bench.analysis import StudyFrames, load_study, rows_of
from olora_bench.analysis.frames import JUDGED_ROLE, Row
from olora_bench.analysis.runs import REPORTED, roles_of
from olora_bench.errors import BadInput, RecordError
from olora_bench.run.grouped import GroupScore, group_scores
from olora_bench.store import EvalRecord, Score, Store, atomic_write, inside
from olora_bench.store.sealed import sha256
from olora_bench.study.expand import find_study
from olora_bench.study.manifest import read_manifest
from olora_bench.study.report import not_run, open_results
from olora_bench.words.reasons import counted

RUN_COLUMNS = ("model", "setting", "arm", "rank", "lr", "seed", "train_id", "roles")
PATTERN = "{base}/{arm}/rank{rank}/lr{lr}/seed{seed}"
MANY = 3
"""So many runs of a kind that is left out are named."""


@dataclass(frozen=True)
class Exported:
    """What was written: runs with scores, items, and why runs were left out."""

    runs: int
    items: int
    left_out: tuple[str, ...]


def export_study(name: str, overrides: Sequence[str], folder: Path) -> Exported:
    """Write a study's records to a folder.

    Raises:
        BadInput: there is no such study, it has not been run, or the folder is not empty.
        StoreError: nothing can be written there.
        RecordError: a record's arm or benchmark leads out of the folder.
    """
    home = open_results(name, overrides)
    manifest = read_manifest(home)
    if manifest is None:
        raise BadInput(not_run(home, find_study(name)))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"--to {folder}: something lies there. Name a new folder, or an empty one")
    store = Store(home.results_dir)
    return export_frames(load_study(store, manifest), store, folder)


def export_frames(frames: StudyFrames, store: Store, folder: Path) -> Exported:
    """The same of frames that are read. Runs that are not scored are left out, and counted."""
    left_out: dict[str, list[str]] = {}
    parts = [part for run in _named(frames.runs) if (part := _run(run, store, folder, left_out)) is not None]
    scores = frames.runs[[*RUN_COLUMNS, "eval_id"]].merge(frames.scores[frames.scores["train_id"].notna()], on=["train_id", "eval_id"])
    curves = frames.runs[list(RUN_COLUMNS)].drop_duplicates("train_id").merge(frames.curves, on="train_id")
    items = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    for name, table in (("items", items), ("scores", scores.drop(columns=["base"])), ("curves", curves)):
        if len(table):
            _parquet(folder / f"{name}.parquet", table)
    judged, there = JUDGED_ROLE[frames.protocol], {role for part in parts for role in _reported(part["roles"].iloc[0])}
    for role in sorted({judged, *there}):
        file, value = "study" if role == judged else role, _study(frames, role, judged)
        atomic_write(folder / f"{file}.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode())
    return Exported(len(parts), len(items), tuple(_left_out(left_out)))


def _left_out(why: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for reason, ids in why.items():
        named = f"{', '.join(ids[:MANY])}{f' and {len(ids) - MANY} more' if len(ids) > MANY else ''}"
        yield f"{counted(len(ids), 'run')}, {reason}: {named}"


def _reported(roles: str) -> list[str]:
    return [role for role in roles_of(roles) if role in REPORTED]


def _named(runs: pd.DataFrame) -> Iterator[Row]:
    """The runs, each with a `base` that tells its cell from others: the model, and a cell's id where the model's longest have several."""
    cells = runs["cell"].where(runs["longest"].astype(bool)).groupby([runs["model"], runs["rank"]]).transform("nunique")
    for row, several in zip(rows_of(runs), cells.tolist(), strict=True):
        yield row | {"base": f"{row['model']}-{_hash(str(row['cell']))[:8]}" if several > 1 else row["model"]}


def _run(run: Row, store: Store, folder: Path, left_out: dict[str, list[str]]) -> pd.DataFrame | None:
    """One run's files; returned: its items, tidy. None where it has no scores."""

    found = _scored(run, store)
    if isinstance(found, str):
        left_out.setdefault(found, []).append(run["train_id"])
        return None
    record, items = found
    if not run["longest"]:
        left_out.setdefault("of shorter trainings, which are in the tables alone", []).append(run["train_id"])
    for role in _reported(run["roles"]) if run["longest"] else ():
        _write(folder, folder / role / PATTERN.format(**run | {"lr": f"{run['lr']:.12g}"}), run, record, items)
    primary = items["benchmark"].map({name: score.primary for name, score in record.scores.items()})
    right = items["correct_norm"].where(primary == "acc_norm", items["correct"])
    tidy = items.drop(columns=["correct", "correct_norm"]).assign(
        metric=primary, correct=right, acc=items["correct"], acc_norm=items["correct_norm"]
    )
    return tidy.assign(**{name: run[name] for name in RUN_COLUMNS})


def _scored(run: Row, store: Store) -> tuple[EvalRecord, pd.DataFrame] | str:
    """A reported run's scores and items, or why it is left out."""
    if not _reported(run["roles"]):
        return "which only chose a learning rate"
    if run["state"] != "done" or run["eval_state"] != "done":
        return f"{run['state']}, scores {run['eval_state']}"
    try:
        record = store.read_eval(run["train_id"], None, run["eval_id"])
        items = store.read_items(run["train_id"], None, run["eval_id"])
    except RecordError as error:
        return str(error)
    return "without single items" if record is None or items is None else (record, items)


def _write(folder: Path, place: Path, run: Row, record: EvalRecord, items: pd.DataFrame) -> None:
    """A run's results and samples, as lm-eval writes them; records may be somebody else's, and name no place outside the folder."""
    date = (record.finished_at or "1970-01-01T00:00:00.000000").split("+")[0].replace(":", "-")
    atomic_write(inside(folder, place / f"results_{date}.json"), (json.dumps(_results(record, run), indent=2) + "\n").encode())
    for benchmark, own in items.groupby("benchmark", sort=False):
        lines = (json.dumps(row) + "\n" for row in _samples(own, record.scores[str(benchmark)]))
        atomic_write(inside(folder, place / f"samples_{benchmark}_{date}.jsonl"), "".join(lines).encode())


def _results(record: EvalRecord, run: Row) -> dict[str, object]:
    """As lm-eval's results file; what our records do not know of it is null."""
    results = {name: _metrics(name, score) for name, score in record.scores.items()}
    counts = {name: {"original": score.items, "effective": score.items} for name, score in record.scores.items()}
    suite: Any = record.config.get("suite") or {}
    shots = suite.get("num_fewshot") if isinstance(suite, dict) else None
    packages: Any = record.provenance.get("packages") or {}
    groups = group_scores(record)
    return {
        "results": results,
        **({"groups": {name: _group(name, score) for name, score in groups.items()}} if groups else {}),
        "group_subtasks": {name: [] for name in results} | {name: list(score.tasks) for name, score in groups.items()},
        "configs": {name: {"task": name, "num_fewshot": shots} for name in results},
        "versions": dict.fromkeys(results),
        "n-shot": dict.fromkeys(results, shots),
        "higher_is_better": {name: dict.fromkeys(score.metrics, True) for name, score in record.scores.items()},
        "n-samples": counts,
        "config": {"model": "olora_bench", "model_args": {"pretrained": run["base"], "peft": run["train_id"]}},
        "git_hash": None,
        "lm_eval_version": packages.get("lm-eval"),
        "model_name": run["train_id"],
    }


def _metrics(name: str, score: Score) -> dict[str, object]:
    """The primary metric first, as this package judges."""
    values: dict[str, object] = {"alias": name}
    for metric in sorted(score.metrics, key=lambda metric: metric != score.primary):
        values[f"{metric},none"] = score.metrics[metric]
        values[f"{metric}_stderr,none"] = "N/A" if score.stderr[metric] is None else score.stderr[metric]
    return values


def _group(name: str, score: GroupScore) -> dict[str, object]:
    values: dict[str, object] = {"alias": name, "sample_len": score.items}
    for metric, value in score.metrics.items():
        error = score.stderr[metric]
        values |= {f"{metric},none": value, f"{metric}_stderr,none": "N/A" if error is None else error}
    return values


def _samples(items: pd.DataFrame, score: Score) -> Iterator[Mapping[str, object]]:
    """As lm-eval's samples: the item's id is the document, since records keep no text."""
    for number, row in enumerate(rows_of(items)):
        shared = row.get("source")  # as data sets name it; null where the record is older
        source = {"source_id": shared} if isinstance(shared, str) and shared else {}
        doc, gold = {"item_id": row["item_id"], **source}, int(row["gold"])
        answers = [[[float(value), None]] for value in row["loglikelihoods"]]
        yield {
            "doc_id": number, "doc": doc, "target": str(gold), "arguments": {}, "resps": answers,
            "filtered_resps": [answer[0] for answer in answers], "filter": "none", "metrics": list(score.metrics),
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)), "prompt_hash": None, "target_hash": _hash(str(gold)),
            "acc": float(row["correct"]), "acc_norm": float(row["correct_norm"]),
        }  # fmt: skip


def _hash(text: str) -> str:
    return sha256(text.encode())


def _study(frames: StudyFrames, role: str, judged: str) -> dict[str, object]:
    primary = frames.scores[frames.scores["primary"]].drop_duplicates("benchmark")
    value: dict[str, object] = {
        "name": f"{frames.study}_exported" + ("" if role == judged else f"_{role}"), "title": frames.title or frames.study,
        "runs": f"{role}/{PATTERN}", "by_seed": role == "tuned",
        "contrasts": [{"arm": one.arm, "reference": one.reference, "kind": one.kind} for one in frames.contrasts],
        "metrics": {str(row["benchmark"]): str(row["metric"]) for row in rows_of(primary)},
    }  # fmt: skip
    margin = {name: amount for name in ("score", "loss") if (amount := getattr(frames.margin, name)) is not None}
    return value | ({"margin": margin} if margin else {})


def _parquet(path: Path, table: pd.DataFrame) -> None:
    sink = io.BytesIO()
    table.to_parquet(sink, compression="zstd", index=False)
    atomic_write(path, sink.getvalue())
