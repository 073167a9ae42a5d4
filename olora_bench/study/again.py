"""A recorded run computed again from its record alone, and how near it comes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olora_bench.config import compose, load
from olora_bench.config.schema import Experiment
from olora_bench.errors import BadInput
from olora_bench.experiment import identified, run
from olora_bench.identity import differences, explain
from olora_bench.report import markdown_table
from olora_bench.store import EvalRecord, RunRecord, Store

LOSS_TOLERANCE = 1e-2
"""Nats per token by which a held-out loss may differ: processors round bf16 differently, and rounding grows over a training."""
KEPT = ("threads", "train_token_budget", "eval_token_budget", "gradient_checkpointing", "compile")
"""Settings of the machine that can move last bits, so they are the record's own."""


def again_text(train_id: str, overrides: Sequence[str] = ()) -> tuple[str, bool]:
    """Compute a recorded run again in a folder of its own, removed afterwards, and compare.

    Args:
        train_id: a finished run of the results folder.
        overrides: Hydra overrides of the machine, e.g. `machine.results_dir=/data/results`.

    Returns:
        What differs, and whether the held-out losses agree to `LOSS_TOLERANCE` and every score to one standard error of its own.

    Raises:
        BadInput: there is no such finished run, or this code would give it another id; nothing was computed.
    """
    here = load(compose(["tracker=none", *overrides])).machine
    store = Store(here.results_dir)
    record = store.read_run(train_id)
    if record is None or record.status != "done":
        state = "there is no such run" if record is None else f"its status is {record.status}"
        raise BadInput(f"{train_id} in {store.root}: {state}; only a finished run can be done again")
    with tempfile.TemporaryDirectory(prefix="olora_bench_again_") as folder:
        root = Path(folder) / "results"
        recorded: Any = record.config["machine"]
        kept = {name: recorded[name] for name in KEPT}
        machine = {**here.model_dump(), **kept, "results_dir": str(root), "wandb_dir": str(Path(folder) / "wandb")}
        experiment = load({**record.config, "machine": machine, "tracker": {"name": "none"}, "exportable": []})
        what, _ = identified(experiment)
        if what.train_id != train_id:
            raise BadInput(f"this code names the run {what.train_id}, not {train_id}:\n{explain(record.identity, dict(what.train))}")
        if (store.root / "base").is_dir():
            shutil.copytree(store.root / "base", root / "base")  # the untouched base's scores need no second look
        run(experiment)
        other = Store(root)
        found = other.read_run(train_id)
        assert found is not None
        scores = [one.read_eval(train_id, None, what.eval_id) if what.eval_id else None for one in (store, other)]
        return _compared(experiment, record, found, *scores)


def _compared(
    experiment: Experiment, record: RunRecord, found: RunRecord, was: EvalRecord | None, now: EvalRecord | None
) -> tuple[str, bool]:
    rows, good = [], found.status == "done"
    for name in ("report_loss", "tune_loss"):
        before, after = record.metrics[name], found.metrics.get(name)
        assert before is not None
        same = after is not None and abs(after - before) <= LOSS_TOLERANCE
        good &= same
        rows.append([name, f"{before:.4f}", "none" if after is None else f"{after:.4f}", f"{LOSS_TOLERANCE:g}", "yes" if same else "NO"])
    for name, score in was.scores.items() if was is not None and now is not None else ():
        error = score.stderr[score.primary]
        before, after = score.metrics[score.primary], now.scores[name].metrics[score.primary] if now is not None else None
        allowed = 0.0 if error is None else error
        same = after is not None and abs(after - before) <= allowed
        good &= same
        shown = "none" if after is None else f"{100 * after:.2f}"
        rows.append([f"{name} ({score.primary}, %)", f"{100 * before:.2f}", shown, f"{100 * allowed:.2f}", "yes" if same else "NO"])
    changed = differences(record.provenance, found.provenance)
    lines = [
        f"{record.train_id}: {experiment.model.name} {experiment.arm} rank {experiment.rank} lr {experiment.lr:g} seed {experiment.seed}",
        "Identity: no difference." if record.identity == found.identity else explain(record.identity, found.identity),
        "Provenance: no difference." if not changed else f"Provenance: {'; '.join(map(str, changed))}.",
        "",
        markdown_table(["", "recorded", "again", "allowed", "agrees"], rows),
        "",
        "The run comes out again." if good else "The run does NOT come out again: see the rows marked NO.",
    ]
    return "\n".join(lines), good
