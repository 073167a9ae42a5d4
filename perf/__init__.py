"""Speed and memory, measured: docs/speed.md has the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import Path
from statistics import median
from typing import Any

import olora_bench  # noqa: F401  before PEFT: it keeps quiet what bitsandbytes says at import

RESULTS = Path(__file__).parent / "results"


def results_file(kind: str, facts: dict[str, Any], device: str) -> Path:
    """Where a measurement of this kind is kept, one for each kind of processor or GPU, by the provenance `facts`."""
    machine = facts["hardware"]["processor"] if device == "cpu" else facts["hardware"]["gpus"][0]
    return RESULTS / f"{kind}_{'_'.join(re.findall('[a-z0-9]+', machine.lower()))}.json"


def medians(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One measurement of several of the same thing: the median of each number; what is no number is the first's."""
    return {key: median(one[key] for one in several) if isinstance(value, Number) else value for key, value in several[0].items()}


def ratios(pairs: Sequence[Mapping[str, Mapping[str, float]]], above: str, below: str, key: str) -> list[float]:
    """Of each turn, one side's number by another's."""
    return [pair[above][key] / pair[below][key] for pair in pairs]


def spread(ratios: Sequence[float]) -> str:
    """The median of paired ratios, and of more than one the least and the greatest."""
    return f"{median(ratios):.2f}" + (f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else "")
