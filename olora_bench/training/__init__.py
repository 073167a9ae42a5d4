"""The training loop, its schedules, and what is measured on the way."""

from __future__ import annotations

from olora_bench.training.checkpoint import Checkpoints
from olora_bench.training.loop import train
from olora_bench.training.result import TrainResult
from olora_bench.training.schedule import loss_schedule, lr_at

__all__ = ["Checkpoints", "TrainResult", "loss_schedule", "lr_at", "train"]
