"""Peak memory of a stretch of work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil
import torch

from olora_bench.process.allocator import return_freed_memory

_EVERY_S = 0.02


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
