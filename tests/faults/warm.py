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

from olora_bench.process.provenance import provenance

provenance()
assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork beside a thread may hang"
