"""Memory that is free, and work that is done in smaller pieces when there is not enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from olora_bench.config.memory import SHORTEST_BUDGET
from olora_bench.process.allocator import return_freed_memory
from olora_bench.process.machine_faults import is_memory
from olora_bench.process.progress import say

Found = TypeVar("Found")


def free_bytes(device: torch.device) -> int:
    """What is free: of a GPU's memory with what torch holds unused, else of this machine's and of what this process is allowed of it."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(min(psutil.virtual_memory().available, allowed_bytes()))


class Budget:
    """Tokens in one forward pass, fewer from the moment that memory runs out. How work is cut moves no number but by rounding."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.tokens, self.device = tokens, device

    def fitting(self, work: Callable[[], Found], undo: Callable[[], None] = lambda: None) -> Found:
        """What `work` returns, which cuts itself by `tokens`; it is done again with half as many each time that memory runs out.

        Args:
            undo: takes back what a failed try left.

        Raises:
            RuntimeError, MemoryError: memory runs out with `SHORTEST_BUDGET` tokens too, or whatever else `work` raises.
        """
        while True:
            try:
                return work()
            except Exception as error:
                if not is_memory(error) or self.tokens // 2 < SHORTEST_BUDGET:
                    raise
            # Out of the except block, whose traceback would keep the tensors of the failed try.
            self.tokens //= 2
            say(f"out of memory: this again, and all after it, with {self.tokens} tokens at a time")
            undo()
            self._release()

    def _release(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            return_freed_memory()


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
