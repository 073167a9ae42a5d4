"""What a number was made with, read from its record: what the runs of a comparison should share because it can move numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from pydantic import JsonValue

from olora_bench.analysis.reasons import RunsDiffer
from olora_bench.store import OVER

PACKAGES = ("torch", "transformers", "peft", "lm-eval")
PROVENANCE = ("device", "processor", *PACKAGES, "harness", "threads", "train_token_budget", "eval_token_budget", "scored_on")
"""The columns of `StudyFrames.runs` that say so."""


def trained_with(facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The columns of PROVENANCE but those of `scored_with`, of a run's provenance; null where it does not say."""
    harness, packages, budget = (table(facts, key) for key in ("harness", "packages", "token_budget"))
    commit = str(harness.get("commit") or "")[:12]
    return {
        "device": facts.get("device"),
        "processor": processor(facts),
        **{name: packages.get(name) for name in PACKAGES},
        "harness": f"{commit}{' with local changes' if harness.get('dirty') else ''}" if commit else None,
        "threads": facts.get("threads"),
        "train_token_budget": budget.get("train"),
    }


def scored_with(facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The columns of PROVENANCE that are of an evaluation, which need not have run on what its run was trained on; null where its record
    does not say. A run that is not scored has none, whatever budget it was given for it."""
    return {"eval_token_budget": table(facts, "token_budget").get("eval"), "scored_on": _scored_on(facts)}


def _scored_on(facts: Mapping[str, JsonValue]) -> str | None:
    packages = table(facts, "packages")
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers", "lm-eval") if packages.get(name)]
    named = [facts.get("device"), processor(facts), *versions]
    return " ".join(str(part) for part in named if part) or None


def processor(facts: Mapping[str, JsonValue]) -> str | None:
    """What did the arithmetic: the GPUs of a run on a GPU, else the processor."""
    hardware = table(facts, "hardware")
    gpus = hardware.get("gpus")
    if str(facts.get("device")).startswith("cuda") and isinstance(gpus, list) and gpus:
        return " + ".join(dict.fromkeys(map(str, gpus)))
    name = hardware.get("processor")
    return None if name is None else str(name)


def table(facts: Mapping[str, JsonValue], key: str) -> dict[str, JsonValue]:
    """A nested table of a record's JSON; empty where it is null or not there."""
    found = facts.get(key)
    return found if isinstance(found, dict) else {}


def mixed_provenance(runs: pd.DataFrame) -> tuple[RunsDiffer, ...]:
    """What the finished runs of a comparison do not share although it can move numbers."""
    done = runs[runs["state"].isin(OVER)]
    values = {name: tuple(sorted(done[name].dropna().map(str).unique())) for name in PROVENANCE}
    return tuple(RunsDiffer(name.replace("_", " "), several) for name, several in values.items() if len(several) > 1)
