"""What the phases of one run share: what is computed, where it goes, how long each phase took; and the base that a process loads once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from olora_bench.assets import Asset
from olora_bench.config import Experiment
from olora_bench.identity import Identified
from olora_bench.process.hardware import resolve_device
from olora_bench.process.preemption import Stop
from olora_bench.process.progress import duration, say
from olora_bench.store import Lease, Store

if TYPE_CHECKING:
    from olora_bench.models import Base


@dataclass
class Clock:
    """Wall-clock seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Worker:
    """What the phases of one run share."""

    store: Store
    what: Identified
    found: Mapping[str, Asset]
    facts: Mapping[str, JsonValue]
    clock: Clock
    study: str | None
    held: Lease
    stop: Stop


_BASES: dict[tuple[str, str, str], Base] = {}


def worker_base(experiment: Experiment, found: Mapping[str, Asset], paths: Mapping[str, Path]) -> Base:
    """The loaded base of this process, reused by every run that starts from the same bytes in the same precision."""
    from olora_bench.models import load_base, torch_dtype

    key = f"model:{experiment.model.name}"
    device = resolve_device(experiment.machine.device)
    wanted = (found[key].identity + repr(experiment.model.quantization), experiment.precision, device)
    if wanted not in _BASES:
        _BASES.clear()  # one base in memory at a time
        start = time.perf_counter()
        _BASES[wanted] = load_base(
            experiment.model, paths.get(key), torch_dtype(experiment.precision), device, experiment.machine.cache_dir
        )
        say(f"load {experiment.model.name} in {experiment.precision}: {duration(time.perf_counter() - start)}")
    return _BASES[wanted]
