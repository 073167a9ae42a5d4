"""Imports what a worker of a study imports, so that workers forked from here start at once. Nothing is computed, so forking is safe."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    WANDB_MODE="offline",
    JE_ARROW_MALLOC_CONF="background_thread:false",  # a fork beside a thread of Arrow's allocator hangs now and then
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
assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork beside a thread may hang"
