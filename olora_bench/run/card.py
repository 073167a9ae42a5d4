"""The page that goes with an export, as the Hub shows it: what it is made of, and how. It names no folder of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from olora_bench.config import Experiment
from olora_bench.config.init_rules import Export
from olora_bench.store import RunRecord, atomic_write

FORMS: dict[Export, str] = {
    "adapter": "PEFT's own format. Loading it runs the init again on the base, and so needs the base named above, unchanged.",
    "lora": "a plain LoRA for the base as it is: what training and the init changed is in A and B.",
    "merged": "the whole model, the adapter added to its weights.",
}


def write_card(out: Path, record: RunRecord, experiment: Experiment, to: Export, rank: int | None) -> None:
    """Write `README.md` below `out`, in place of an empty one.

    Args:
        rank: of what is exported; None for a merged model.

    Raises:
        StoreError: it cannot be written.
    """
    title = f"# {experiment.model.name}, {experiment.arm}, rank {experiment.rank}"
    rows = [f"| {name} | {value} |" for name, value in _rows(record, experiment, to, rank)]
    made = (
        "Made by olora_bench, a harness that compares LoRA initialisations. "
        f"With the run's record, `python -m olora_bench.export {record.train_id} --to {to} OUT` makes it again."
    )
    text = f"---\n{yaml.safe_dump(_front(experiment, to), sort_keys=False)}---\n\n{title}\n\n| | |\n|---|---|\n" + "\n".join(rows)
    atomic_write(out / "README.md", f"{text}\n\n{made}\n".encode())


def _front(experiment: Experiment, to: Export) -> dict[str, Any]:
    """What the Hub reads."""
    hub = experiment.model.hub
    relation = "finetune" if to == "merged" else "adapter"
    base = {} if hub is None else {"base_model": hub.id, "base_model_relation": relation}
    library = "transformers" if to == "merged" else "peft"
    return base | {"library_name": library, "pipeline_tag": "text-generation", "tags": ["lora", "olora_bench", experiment.init.name]}


def _rows(record: RunRecord, experiment: Experiment, to: Export, rank: int | None) -> Iterator[tuple[str, str]]:
    model, init = experiment.model, experiment.init
    assets: Any = record.provenance.get("assets") or []
    weights = {str(one["key"]): str(one["identity"]) for one in assets}
    yield "base model", f"{model.name} ({model.family}), weights `{weights.get(f'model:{model.name}', 'not said')}`"
    yield "run", f"`{record.train_id}`"
    yield "init", f"{init.name} (module {init.module}{f', options {init.options}' if init.options else ''})"
    yield "trained with", f"rank {experiment.rank}, alpha {experiment.alpha:g}, on {', '.join(model.target_modules)}"
    yield "exported as", f"{to}{'' if rank is None else f' of rank {rank}'}: {FORMS[to]}"
    yield "data", f"{experiment.data.name}, seed {experiment.seed}"
    recipe = f"{experiment.recipe.name}: {record.steps} steps of {experiment.recipe.batch_size}"
    yield "recipe", f"{recipe}, learning rate {experiment.lr:g}, {experiment.precision}"
    before, after = (record.metrics.get(name) for name in ("report_loss_start", "report_loss"))
    if after is not None:
        yield "held-out loss", f"{'' if before is None else f'{before:.3f} before, '}{after:.3f} after, in nats per supervised token"
    harness: Any = record.provenance.get("harness") or {}
    yield "olora_bench", f"{harness.get('version', 'not said')}, commit {harness.get('commit') or 'not said'}"
