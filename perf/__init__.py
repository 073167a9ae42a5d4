"""Speed and memory, measured: docs/speed.md has the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import olora_bench  # noqa: F401  before PEFT: it keeps quiet what bitsandbytes says at import

RESULTS = Path(__file__).parent / "results"


def results_file(kind: str, facts: dict[str, Any], device: str) -> Path:
    """Where a measurement of this kind is kept, one for each kind of processor or GPU, by the provenance `facts`."""
    machine = facts["hardware"]["processor"] if device == "cpu" else facts["hardware"]["gpus"][0]
    return RESULTS / f"{kind}_{'_'.join(re.findall('[a-z0-9]+', machine.lower()))}.json"
