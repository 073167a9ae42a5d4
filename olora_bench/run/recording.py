"""What is recorded of a run as it starts, ends, diverges or fails."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from olora_bench.config import Experiment
from olora_bench.identity import Identified
from olora_bench.process.provenance import provenance
from olora_bench.run.worker import Worker
from olora_bench.store import OVER, EvalRecord, Lease, RunRecord, Store, utc_now

if TYPE_CHECKING:
    from olora_bench.data.parts import PartCounts
    from olora_bench.inits import Adapted
    from olora_bench.training import TrainResult


@dataclass(frozen=True)
class Finished:
    """What one experiment came to. `computed` is false where everything was done already."""

    train_id: str
    eval_id: str | None
    status: str
    computed: bool


def started(what: Identified, facts: Mapping[str, JsonValue], attempts: int) -> RunRecord:
    return RunRecord(
        train_id=what.train_id,
        arm=what.experiment.arm,
        status="running",
        attempts=attempts,
        identity=dict(what.train),
        config=what.experiment.published(),
        provenance=dict(facts),
        started_at=utc_now(),
    )


def ended(
    worker: Worker, record: RunRecord, result: TrainResult, adapted: Adapted, counts: Mapping[str, PartCounts], **kept: object
) -> RunRecord:
    """The record of a training that came to its end, done or diverged. `kept`: further fields, of what was written beside it."""
    record = record.model_copy(
        update={
            "status": result.status,
            "error": result.error,
            "finished_at": utc_now(),
            "provenance": {**record.provenance, **({"earlier": result.earlier} if result.earlier else {})},
            "timings_s": worker.clock.seconds | result.timings_s,
            "tokens_per_s": result.tokens_per_s,
            "examples_per_s": result.examples_per_s,
            "cost": result.cost,
            "base_bytes": result.base_bytes,
            "peak_bytes": result.peak_bytes,
            "peak_above_base_bytes": result.peak_above_base_bytes,
            "parameters_total": adapted.parameters_total,
            "parameters_trainable": adapted.parameters_trainable,
            "steps": result.steps,
            "clipped_step_share": result.clipped_step_share,
            "data": dict(counts),
            "metrics": result.metrics,
            "init": adapted.measured(),
            "missing": result.missing,
            **kept,
        }
    )
    return RunRecord.model_validate(record.model_dump())


def failed(record: RunRecord, reason: str) -> RunRecord:
    return record.model_copy(update={"status": "failed", "error": reason, "finished_at": utc_now()})


def record_unscored(store: Store, what: Identified, reason: str, facts: Mapping[str, JsonValue], held: Lease) -> None:
    """A trained run that could not be scored: its training stays, and its evaluation says why there is none."""
    if what.eval_id is None or what.evaluation is None:
        return
    record = EvalRecord(
        eval_id=what.eval_id,
        train_id=what.train_id,
        status="failed",
        error=reason,
        identity=dict(what.evaluation),
        config={"suite": what.experiment.suite.model_dump(mode="json")},
        provenance=dict(facts),
        finished_at=utc_now(),
    )
    store.write_eval(record, None, held=held)


def record_crashes(store: Store, what: Identified, held: Lease) -> str:
    """Record as failed a run that took its process with it, so that a study comes to its end; returns the reason."""
    reason = (
        f"its process died {held.crashes} times in a row without a word (killed from outside, out of memory, or a crash in a library) "
        "and kept nothing in between; it is tried again only when asked to"
    )
    record = store.read_run(what.train_id)
    if record is not None and record.status in OVER:
        record_unscored(store, what, reason, record.provenance, held)
    else:
        store.write_run(failed(record or started(what, provenance(), 1), reason), held)
    return reason


def without_folders(text: str, experiment: Experiment) -> str:
    """A traceback as a record keeps it: files by their place in their package, or by name, and folders by what they are here."""
    text = re.sub(r'(?<=File ")[^"\n]*/(?=(?:site-packages|dist-packages|python3\.\d+|olora_bench)/)', "", text)
    text = re.sub(r'(?<=File ")/[^"\n]*/(?=[^"/\n]+")', "", text)
    names = {Path.cwd(): "<working folder>", Path(tempfile.gettempdir()): "<temporary folder>", Path.home(): "~"}
    names |= {path: f"<machine.{key}>" for key, path in experiment.machine if isinstance(path, Path)}
    shown = {str(form): name for path, name in names.items() for form in (path, path.absolute(), path.resolve()) if form.name}
    for folder in sorted(shown, key=len, reverse=True):
        text = re.sub(rf"(?<![\w./~-]){re.escape(folder)}(?![\w.-])", shown[folder], text)
    return text
