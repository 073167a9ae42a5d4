"""What a training leaves beside its scores: the log of transformers' and TRL's trainers, and the folder of a PEFT adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from olora_bench.foreign.files import files_below, json_object, shown, told
from olora_bench.foreign.record import SourceFile
from olora_bench.formats import Unreadable, is_file

CURVE = ("step", "tokens", "wall_s", "train_loss", "tune_loss", "report_loss", "lr", "grad_norm")
_LOGGED = {"loss": "train_loss", "eval_loss": "report_loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
_TOKENS = ("num_tokens", "num_input_tokens_seen")
FACTS = ("peft_type", "r", "lora_alpha", "init_lora_weights", "target_modules", "lora_dropout", "use_rslora", "use_dora")
"""What is kept of an adapter's configuration."""


@dataclass
class Training:
    """What is known of how a run was trained.

    Attributes:
        curve: columns of CURVE, a row a step, None where nothing was logged.
        steps: optimiser steps done.
        lr: the highest learning rate in the log.
        diverged: whether the last `train_loss` or `report_loss` that was logged is no finite number.
        losses: `train_loss` and `report_loss` (the trainer's `eval_loss`) at the end, nats.
        seconds: of training.
        adapter: of its configuration what FACTS names.
        base: as the adapter names it.
        adapter_bytes: of its weights.
        sources: files that were read.
    """

    curve: dict[str, list[float | None]] | None = None
    steps: int | None = None
    lr: float | None = None
    diverged: bool = False
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    adapter: dict[str, JsonValue] = field(default_factory=dict)
    base: str | None = None
    adapter_bytes: int | None = None
    sources: list[SourceFile] = field(default_factory=list)


def training_of(folder: Path, root: Path) -> Training:
    """What lies below a run's folder.

    Args:
        root: from where paths are told.

    Raises:
        Unreadable: a file is damaged, or cannot be read.
    """
    found, files = Training(), files_below(folder, ("trainer_state.json", "adapter_config.json"))
    states = [(path, *_read(path, root)) for path in files if path.name == "trainer_state.json"]
    if states:
        path, raw, source = max(states, key=lambda one: (_whole(one[1].get("global_step")) or 0, -len(one[0].parts)))
        _log(found, raw, path)
        found.sources.append(source)
    adapters = sorted((path for path in files if path.name == "adapter_config.json"), key=lambda path: (len(path.parts), str(path)))
    if adapters:
        raw, source = _read(adapters[0], root)
        found.sources.append(source)
        _adapter(found, raw, adapters[0].parent)
    return found


def _read(path: Path, root: Path) -> tuple[dict[str, object], SourceFile]:
    raw, sha256 = json_object(path)
    return raw, SourceFile(path=told(path, root), sha256=sha256)


def _log(found: Training, raw: Mapping[str, object], path: Path) -> None:
    history = raw.get("log_history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise Unreadable(path, "no log_history of a trainer in it")
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        step = _whole(entry.get("step"))
        if step is None:
            continue
        row = rows.setdefault(step, {})
        row |= {ours: value for theirs, ours in _LOGGED.items() if (value := _number(entry.get(theirs))) is not None}
        if (tokens := next((value for name in _TOKENS if (value := _number(entry.get(name))) is not None), None)) is not None:
            row["tokens"] = tokens
        if (seconds := _number(entry.get("train_runtime"))) is not None and seconds >= 0:
            found.seconds = seconds
    found.diverged = any(_ends_in_none(name, history) for name in ("loss", "eval_loss"))
    known = {step: row for step, row in sorted(rows.items()) if row}
    found.steps = _whole(raw.get("global_step"))
    if not known:
        return
    curve: dict[str, list[float | None]] = {name: [row.get(name) for row in known.values()] for name in CURVE[1:]}
    found.curve = {"step": [float(step) for step in known], **curve}
    found.lr = max((rate for rate in curve["lr"] if rate is not None and rate >= 0), default=None)
    found.losses = {name: _last(curve[name]) for name in ("train_loss", "report_loss") if curve[name] != [None] * len(known)}


def _ends_in_none(name: str, history: Sequence[Mapping[str, object]]) -> bool:
    """Whether what was logged last under a name is no number: NaN and infinity are read as null."""
    logged = [(step, entry[name]) for entry in history if name in entry and (step := _whole(entry.get("step"))) is not None]
    return bool(logged) and max(logged, key=lambda one: one[0])[1] is None


def _last(values: Sequence[float | None]) -> float:
    return next(value for value in reversed(values) if value is not None)


def _adapter(found: Training, raw: Mapping[str, object], folder: Path) -> None:
    facts = {name: raw[name] for name in FACTS if name in raw}
    modules = facts.get("target_modules")
    if isinstance(modules, list):
        facts["target_modules"] = sorted(map(str, modules))
    found.adapter = {name: known for name, value in facts.items() if (known := _fact(value)) is not None}
    base = raw.get("base_model_name_or_path")
    found.base = shown(base) if isinstance(base, str) and base else None
    weights = next((one for name in ("adapter_model.safetensors", "adapter_model.bin") if is_file(one := folder / name)), None)
    found.adapter_bytes = None if weights is None else weights.stat().st_size  # its bytes are counted, and never read


def _fact(value: object) -> JsonValue:
    """A value of an adapter's configuration; None where it is none that a record could hold."""
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, str | bool):
        return shown(value) if isinstance(value, str) else value
    return value if _number(value) is not None else None  # type: ignore[return-value]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # a whole number may be of any length
    return float(value) if known else None  # type: ignore[arg-type]
