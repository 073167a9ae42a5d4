"""The variances that a study may expect: of its own finished records, of another study's of the same cell, else stated ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from olora_bench.config import Experiment
from olora_bench.errors import RecordError
from olora_bench.store import Store
from olora_bench.store.manifest import Manifest
from olora_bench.study.estimate import items, items_by_benchmark
from olora_bench.study.expand import Grids
from olora_bench.study.manifest import manifest_in, manifest_of
from olora_bench.study.open import OpenStudy

if TYPE_CHECKING:
    from olora_bench.analysis.design import Errors
    from olora_bench.analysis.variances import Foreseen


@dataclass(frozen=True)
class Variances:
    """What a contrast's differences vary by, and where that is from, in words. `known`: by records, of which extents can be told."""

    errors: Errors
    source: str
    known: bool


def variances(study: OpenStudy, grids: Grids, asked: Experiment) -> Variances:
    """Of the primary contrast whose seeds vary most, as far as records say.

    Args:
        asked: an experiment of the study that is asked all its items.
    """
    from olora_bench.analysis.variances import assumed

    counts = items_by_benchmark(asked)
    for name, manifest, scored in _told(study, grids, asked):
        if (found := _largest(study.store, manifest, grids)) is not None:
            times = items(asked) / scored if scored else 1.0
            scaled = found.errors if times == 1 else found.errors.with_items(times)
            return Variances(scaled, f"of {found.seeds} seeds in results/{name}", True)
    default = assumed(counts)
    seeds, shared = f"seeds of {default.errors.seed**0.5:.2g}", f"items of {default.errors.item**0.5:.2g} pp in the mean"
    what = f"{seeds} pp and {shared}" if counts else f"{seeds} nats, examples not drawn anew"
    alike = "; models are taken to be alike" if len({job.experiment.model.name for job in grids.jobs}) > 1 else ""
    return Variances(default.errors, f"assumed: {what}, as in results/smollm2{alike}", False)


def _told(study: OpenStudy, grids: Grids, asked: Experiment) -> Iterator[tuple[str, Manifest, int]]:
    """Studies with records that may tell: the study itself, then others of one model and of its cell; each with the items of a scoring."""
    reported = [job for job in grids.jobs if {"tuned", "shared"} & set(job.roles)]
    if any((study.store.run_dir(job.what.train_id) / "record.json").exists() for job in reported):  # readable or not
        yield study.name, manifest_of(study.home, grids, study.loss), items(asked)
    for path in sorted(study.store.root.glob("*/manifest.json")):
        try:
            manifest = manifest_in(path.parent)
        except RecordError:
            continue
        if manifest is not None and manifest.study != study.name and (scored := _of_cell(study.store, manifest, asked)) is not None:
            yield path.parent.name, manifest, scored


def _of_cell(store: Store, manifest: Manifest, asked: Experiment) -> int | None:
    """How many items a study of one model asked of the runs of an experiment's cell, `RESULTS_VERSION` aside; None where it has none."""
    scored, wanted = bool(asked.suite.benchmarks), _cell(asked.model_dump(mode="json"))
    runs = {run.cell: run for run in manifest.runs if (run.eval_id is not None) == scored and {"tuned", "shared"} & set(run.roles)}
    if {run.model for run in manifest.runs} != {asked.model.name}:
        return None
    for run in runs.values():
        try:
            record = store.read_run(run.train_id)
            told = None if run.eval_id is None else store.read_eval(run.train_id, None, run.eval_id)
        except RecordError:
            continue
        if record is not None and _cell(record.config) == wanted and (told is not None or not scored):
            return sum(score.items for score in told.scores.values()) if told is not None else 0
    return None


def _cell(config: Mapping[str, Any]) -> str:
    """What compared runs share that decides how they vary: what is read of them and how parts are drawn is left out."""
    data = {key: config["data"].get(key) for key in ("name", "train_size", "report_size")}
    recipe = {key: config["recipe"].get(key) for key in ("steps", "epochs", "batch_size", "schedule", "max_grad_norm", "dropout")}
    return json.dumps([config["model"]["name"], config["rank"], config["alpha"], data, recipe])


def _largest(store: Store, manifest: Manifest, grids: Grids) -> Foreseen | None:
    from olora_bench.analysis.load import load_study
    from olora_bench.analysis.variances import seen

    asked = {(c.arm, c.reference) for c in grids.study.contrasts if c.kind == "primary"}
    known = {key: one for key, one in seen(load_study(store, manifest)).items() if key in asked}
    return max(known.values(), key=lambda one: one.errors.seed, default=None)
