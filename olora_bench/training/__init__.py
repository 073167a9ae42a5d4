"""The training loop, its schedules, and what is measured on the way."""

from __future__ import annotations

from olora_bench.training.loop import TrainResult, train
from olora_bench.training.schedule import loss_schedule, lr_at, step_count, warmup_count

__all__ = ["TrainResult", "loss_schedule", "lr_at", "step_count", "train", "warmup_count"]
