"""From rows to token batches: benchmark tasks, the three parts, the order of training."""

from __future__ import annotations

from olora_bench.data.batches import Batch, batch_order, collate, longest_first, packs
from olora_bench.data.parts import Example, Parts, build_parts, check, report_items
from olora_bench.data.tasks import benchmark_tasks

__all__ = [
    "Batch", "Example", "Parts", "batch_order", "benchmark_tasks", "build_parts", "check", "collate", "longest_first", "packs",
    "report_items",
]  # fmt: skip
