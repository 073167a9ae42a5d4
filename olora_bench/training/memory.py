"""Peak memory of a stretch of work."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from olora_bench.process.allocator import return_freed_memory

_EVERY_S = 0.02


def free_bytes(device: torch.device) -> int:
    """What is free: of a GPU's memory with what torch holds unused, else of this machine's and of what this process is allowed of it."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(min(psutil.virtual_memory().available, allowed_bytes()))


def allowed_bytes(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """What this process's control groups (a container's, a Slurm job's) still let it take; infinity where none sets a limit.

    Linux's cgroup-v2 and -v1 memory controllers: the limit less what is used, file pages that can be dropped left out.
    """
    room = math.inf
    for line in own.read_text(encoding="utf-8").splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            home, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            home, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part]
        room = min([room, *(_room(home.joinpath(*parts[:depth]), *names) for depth in range(len(parts) + 1))])
    return room


def _room(group: Path, limit: str, used: str, droppable: str) -> float:
    try:
        most, now = ((group / name).read_text(encoding="utf-8").strip() for name in (limit, used))
        facts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:  # the root group has no such files, and of a container's parents none can be seen
        return math.inf
    return math.inf if most == "max" else max(0.0, int(most) - int(now) + int(facts.get(droppable, 0)))


class PeakMemory:
    """While open, the peak in bytes: allocated by torch on a GPU; on the CPU the resident memory of the process, sampled 50 times a second.

    `start` is the level at opening, `peak` the highest seen since.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = self.peak = 0
        self._closed = threading.Event()
        self._paused = False
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._process = psutil.Process()

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.start = torch.cuda.memory_allocated(self.device)
        else:
            return_freed_memory()  # what an earlier run freed and the process kept would hide this one's
            self.start = self._process.memory_info().rss
            self._thread.start()
        self.peak = self.start
        return self

    def _sample(self) -> None:
        while not self._closed.wait(_EVERY_S):
            rss = self._process.memory_info().rss
            if not self._paused:
                self.peak = max(self.peak, rss)

    def read(self) -> int:
        """The peak up to now."""
        if self.device.type == "cuda" and not self._closed.is_set():
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(self.device))
        return self.peak

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not part of the work that is measured, e.g. writing a checkpoint from the CPU's memory."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def __exit__(self, *_: object) -> None:
        self.read()
        self._closed.set()
        if self.device.type != "cuda":
            self._thread.join()
            self.peak = max(self.peak, self._process.memory_info().rss)
