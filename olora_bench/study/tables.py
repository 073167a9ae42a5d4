"""A study's report from its manifest and records: no torch, no network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from olora_bench.analysis import compare_cells
from olora_bench.config import compose, options
from olora_bench.errors import BadInput, RecordError
from olora_bench.report import study_report
from olora_bench.store import RunRecord, Store, atomic_write, lease
from olora_bench.study.files import read_manifest, study_dir
from olora_bench.study.grid import find_study
from olora_bench.study.schema import parse_study

RUN_METRICS = ("report_loss_start", "report_loss", "report_gold_logprob_start", "report_gold_logprob")


def runs_of(store: Store, manifest: dict[str, Any]) -> pd.DataFrame:
    """The manifest's runs with their states and final metrics.

    A run without a record is `missing`; a trained one that could not be scored is `failed`, one not scored yet or cut off `interrupted`.
    """
    rows = []
    for entry in manifest["runs"]:
        row = {**entry, "state": "missing", "reason": None, **dict.fromkeys(RUN_METRICS)}
        try:
            record = store.read_run(entry["train_id"])
            if record is not None:
                state, reason = _state(store, record, entry["eval_id"])
                row |= {"state": state, "reason": reason} | {name: record.metrics.get(name) for name in RUN_METRICS}
        except RecordError as error:
            row |= {"state": "unreadable", "reason": str(error)}
        rows.append(row)
    return pd.DataFrame(rows)


def _state(store: Store, record: RunRecord, eval_id: str | None) -> tuple[str, str | None]:
    if record.status == "running":
        state = store.state(record.train_id)
        return state, f"started {record.attempts} times, not finished" if state == "interrupted" else None
    if record.status == "done" and eval_id is not None:
        scored = store.read_eval(record.train_id, None, eval_id)
        if scored is None:
            return "interrupted", "trained, not scored yet"
        if scored.status == "failed":
            return "failed", f"trained, but not scored: {(scored.error or '').splitlines()[0]}"
    return record.status, (record.error or "").split("\n")[0] or None


def scores_of(store: Store, runs: pd.DataFrame) -> pd.DataFrame:
    """The primary score of every benchmark of every finished evaluation, bases included."""
    wanted: set[tuple[str | None, str | None, str]] = set()
    for row in runs[runs["eval_id"].notna()].to_dict("records"):
        wanted |= {(row["train_id"], None, row["eval_id"]), (None, row["model"], row["base_eval_id"])}
    rows = []
    for train_id, base, eval_id in sorted(wanted, key=str):
        record = store.read_eval(train_id, base, eval_id)
        if record is None or record.status != "done":
            continue
        for benchmark, score in record.scores.items():
            rows.append(
                {
                    "eval_id": eval_id,
                    "benchmark": benchmark,
                    "metric": score.primary,
                    "value": score.metrics[score.primary],
                    "items": score.items,
                    "chance": score.chance,
                    "gold_logprob": score.gold_logprob,
                }
            )
    return pd.DataFrame(rows, columns=["eval_id", "benchmark", "metric", "value", "items", "chance", "gold_logprob"])


def report_text(name: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """The report of a study, written to `results/<study>/report/` and returned, and whether every run of it is done.

    Raises:
        BadInput: the study has not been run here.
    """
    path = find_study(name)
    cfg = compose(overrides, config_name=path.stem, config_dir=path.parent)
    study = parse_study(dict(cfg.study), str(path)).name
    results_dir = Path(cfg.machine.results_dir).expanduser()
    manifest = read_manifest(results_dir, study)
    if manifest is None:
        raise BadInput(f"study {study} has not been run in {results_dir}: make sweep SWEEP={name}")
    store = Store(results_dir)
    runs = runs_of(store, manifest)
    scores = scores_of(store, runs)
    owner = dict(zip(runs["eval_id"], runs["train_id"], strict=True))

    @cache
    def items(eval_id: str) -> pd.DataFrame:
        frame = store.read_items(owner[eval_id], None, eval_id)
        assert frame is not None
        return frame

    contrasts = [
        (c["arm"], c["reference"], c["kind"], compare_cells(runs, scores, items, arm=c["arm"], reference=c["reference"]))
        for c in manifest["contrasts"]
    ]
    folder = study_dir(results_dir, study) / "report"
    text = study_report(f"{study}: {manifest['title']}", runs, contrasts, notes(runs, results_dir, folder, study))
    with lease(study_dir(results_dir, study), wait=True):  # two workers may end at once, and one that was killed may have left half a file
        atomic_write(folder / "report.md", (text + "\n").encode())
        for arm, reference, _, cells in contrasts:
            atomic_write(folder / f"{arm}_vs_{reference}.csv", cells.to_csv(index=False, float_format="%.6g").encode())
    return text, bool((runs["state"] == "done").all())


def notes(runs: pd.DataFrame, results_dir: Path, folder: Path, study: str) -> list[str]:
    """What is missing, where things were written, what comes next."""
    lines = [
        f"{row['train_id']} {row['state']}" + (f": {row['reason']}" if row["reason"] else "")
        for row in runs[runs["state"] != "done"].to_dict("records")
    ]
    lines.append(f"Records: {results_dir}/runs/<id>/ (record, loss curve, items of every benchmark); this report: {folder}/report.md")
    lines.append(f"What went into a run's id: python -m olora_bench.study explain {runs['train_id'].iloc[0]}")
    models = [m for m in options("model") if not m.startswith(("tiny_", "smollm2", "opt_350m", "tinyllama_chat"))]
    if study == "demo":
        lines.append(f"demo: 1 of {len(models)} models; all: make sweep SWEEP=paper")
    return lines
