"""What only a GPU can show, in at most nine minutes: `python -m perf.gpu`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What a step is to run: on which device, at sizes for a test (`tiny`) or a GPU's own, its files below `folder`, for `seconds`."""

    device: str
    tiny: bool
    folder: Path
    seconds: float

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device.startswith("cuda")


class Skipped(Exception):
    """Why a step has nothing to do here."""
