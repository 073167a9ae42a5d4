"""What the phases of one run share: what is computed, where it goes, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import JsonValue

from olora_bench.assets import Asset
from olora_bench.identity import Identified
from olora_bench.process.preemption import Stop
from olora_bench.store import Lease, Store


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
