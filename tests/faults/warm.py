"""Imports what a worker of a study imports, so that workers forked from here start at once. Nothing is computed, so forking is safe."""

from __future__ import annotations

import os

os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    ARROW_DEFAULT_MEMORY_POOL="system",  # Arrow's own allocator starts a thread, and a fork beside a thread may hang
)

import olora_bench.__main__
import olora_bench.data
import olora_bench.evaluation
import olora_bench.inits.peft
import olora_bench.models
import olora_bench.study.sweep
import olora_bench.study.tables
import olora_bench.training
import olora_bench.worker  # noqa: F401
from olora_bench.provenance import provenance

provenance()
assert len(os.listdir("/proc/self/task")) == 1, "a fork beside a thread may hang"
