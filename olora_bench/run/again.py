"""A recorded run computed again from its record alone, and how near it comes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from olora_bench.config import compose, load
from olora_bench.config.messages import validation_message
from olora_bench.config.schema import Experiment, Machine
from olora_bench.errors import BadInput, RecordError, RunFailed
from olora_bench.evaluation.generation import ROUGE
from olora_bench.identity import Identified, training_assets
from olora_bench.run.experiment import identified, run
from olora_bench.run.recorded import check_assets, check_identity, of_record
from olora_bench.store import EvalRecord, RunRecord, Store

LOSS_TOLERANCE = 1e-2
"""Nats per token by which a held-out loss may differ: processors round bf16 differently, and rounding grows over a training."""
ANSWER_TOLERANCE = 2.0
"""Points of BLEU and of ROUGE (of 100) by which written answers may differ: one other token changes all that follow."""
KEPT = ("threads", "train_token_budget", "eval_token_budget", "gradient_checkpointing", "compile")
"""Settings of the machine that can move last bits, so they are the record's own."""


@dataclass(frozen=True)
class Compared:
    """One number as it was recorded and as it came out again, how far the two may differ, and the digits to show of it."""

    name: str
    was: float | None
    now: float | None
    allowed: float
    digits: int

    @property
    def agrees(self) -> bool:
        """Whether both are there and near enough."""
        return self.was is not None and self.now is not None and abs(self.now - self.was) <= self.allowed


@dataclass(frozen=True)
class Again:
    """An experiment's record, the record of it computed again, and their numbers compared; `scored`: whether scores were recorded."""

    experiment: Experiment
    record: RunRecord
    found: RunRecord
    rows: list[Compared]
    scored: bool

    @property
    def same(self) -> bool:
        """Whether the run came out again: finished, and every number near enough."""
        return self.found.status == "done" and all(row.agrees for row in self.rows)


def again(name: str, overrides: Sequence[str] = (), *, config_dir: Path | None = None) -> Again:
    """Compute a recorded run again in a folder of its own, removed afterwards, and compare.

    Args:
        name: the train_id of a finished run of the results folder, or its beginning.
        overrides: Hydra overrides of the machine, e.g. `machine.results_dir=/data/results`.
        config_dir: a folder of configs searched before `conf/`: what a record names is fetched only if these describe it.

    Returns:
        Both records and their numbers compared: losses to `LOSS_TOLERANCE`, accuracies to one standard error (at least one item), BLEU and
        ROUGE to `ANSWER_TOLERANCE`.

    Raises:
        BadInput: there is no such finished run, this code would give it another id, an override is not of the machine, or it broke.
    """
    for part in overrides:
        if not part.startswith("machine.") or part.split("=")[0].removeprefix("machine.") in KEPT:
            raise BadInput(f"{part}: a run is done again as it was recorded; only folders and device of the machine can be set")
    here = load(compose(["tracker=none", *overrides])).machine
    store = Store(here.results_dir)
    record = _finished(store, name)
    with tempfile.TemporaryDirectory(prefix="olora_bench_again_") as folder:
        root = Path(folder) / "results"
        experiment = of_record(record, _machine(record, here, root), config_dir)
        check_identity(record, experiment)
        what, assets = identified(experiment)
        if what.train_id != record.train_id:
            read = (f"model:{experiment.model.name}", *training_assets(experiment))
            check_assets(record, {key: one for key, one in assets.items() if key in read})
        other = Store(root)
        _copy_base(store, other, what)
        try:
            run(experiment)
        except RunFailed as error:
            raise BadInput(f"{record.train_id} cannot be computed here: {error}") from error
        found = other.read_run(record.train_id)
        assert found is not None
        scores = [one.read_eval(record.train_id, None, what.eval_id) if what.eval_id else None for one in (store, other)]
        return Again(experiment, record, found, _compared(record, found, *scores), scored=scores[0] is not None)


def _finished(store: Store, name: str) -> RunRecord:
    record = store.named_run(name)
    if record.status != "done":
        raise BadInput(f"{record.train_id} in {store.root}: its status is {record.status}; only a finished run can be done again")
    return record


def _machine(record: RunRecord, here: Machine, results_dir: Path) -> Machine:
    """This machine with the record's own settings of what can move last bits."""
    recorded: Any = record.config.get("machine")
    known = {**(recorded if isinstance(recorded, dict) else {}), "threads": record.provenance.get("threads")}
    absent = [name for name in KEPT if name not in known]
    if absent:
        raise RecordError(f"run {record.train_id}: its record does not say machine.{', machine.'.join(absent)}, so it cannot be done again")
    try:
        return Machine.model_validate(here.model_dump() | {name: known[name] for name in KEPT} | {"results_dir": results_dir})
    except ValidationError as error:
        raise RecordError(f"run {record.train_id}: {validation_message(error, Machine, 'machine')}") from error


def _copy_base(store: Store, other: Store, what: Identified) -> None:
    """The untouched base's scores need no second look."""
    if what.base_eval_id is None:
        return
    name = what.experiment.model.name
    record = store.read_eval(None, name, what.base_eval_id)
    if record is not None:
        items, generations = (read(None, name, what.base_eval_id) for read in (store.read_items, store.read_generations))
        other.write_eval(record, items, generations)


def _compared(record: RunRecord, found: RunRecord, was: EvalRecord | None, now: EvalRecord | None) -> list[Compared]:
    read = [name for name in ("report_loss", "tune_loss") if f"metrics.{name}" not in record.missing]
    rows = [Compared(name, record.metrics.get(name), found.metrics.get(name), LOSS_TOLERANCE, 4) for name in read]
    if was is None or was.status != "done":
        return rows
    assert now is not None
    for name, score in was.scores.items():
        allowed = 100 * max(score.stderr[score.primary] or 0.0, 1 / score.items)
        before, after = (100 * one.scores[name].metrics[score.primary] for one in (was, now))
        rows.append(Compared(f"{name} ({score.primary}, %)", before, after, allowed, 2))
    for name in ("bleu", *ROUGE):
        if name in was.generation:
            before, after = (float(one.generation[name]) * (1 if name == "bleu" else 100) for one in (was, now))  # type: ignore[arg-type]
            rows.append(Compared(f"{name} (of 100)", before, after, ANSWER_TOLERANCE, 2))
    return rows
