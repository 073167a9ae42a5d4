"""Progress as lines on standard error, plain in a log file; on a terminal a step that is under way has one line, which it replaces."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

TOLD_BY_SWEEP = "OLORA_BENCH_TOLD_BY_SWEEP"
"""Set in workers that share the terminal of a sweep: that says how far each one is, a line a worker."""
_CLEAR = "\r\x1b[K"
_UNFINISHED: set[int] = set()
_PREFIX: ContextVar[str] = ContextVar("progress_prefix", default="")


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(4.21), duration(75), duration(7384)
    ('4.2s', '1m15s', '2h03m')
    """
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def size(count: float) -> str:
    """Bytes as people say them.

    >>> size(92871040)
    '92.9 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def say(text: str, *, stream: TextIO | None = None) -> None:
    """Print one line, with the label of the run at work in front of it. That it cannot be shown fails no run."""
    out = stream or sys.stderr
    if out is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it; closed, or no character for it
            print(f"{_CLEAR if id(out) in _UNFINISHED else ''}{_PREFIX.get()}{text}", file=out, flush=True)
            _UNFINISHED.discard(id(out))


def _say_for_now(text: str, stream: TextIO | None) -> None:
    """A line that the next one replaces, on a terminal; elsewhere a line like any other. None where the sweep tells of its workers."""
    out = stream or sys.stderr
    if os.environ.get(TOLD_BY_SWEEP) or out is None:
        return
    if not out.isatty():
        say(text, stream=stream)
        return
    with contextlib.suppress(OSError, ValueError):
        width = shutil.get_terminal_size().columns - 1
        print(f"{_CLEAR}{_PREFIX.get()}{text}"[: width + len(_CLEAR)], end="", file=out, flush=True)
        _UNFINISHED.add(id(out))


@contextlib.contextmanager
def label(text: str) -> Iterator[None]:
    """Put `[text]` in front of every line said inside, e.g. `run 2 of 4: olora r32 seed 0`."""
    token = _PREFIX.set(f"[{text}] ")
    try:
        yield
    finally:
        _PREFIX.reset(token)


class Progress:
    """A long step, reported at most every `every_s` seconds with the time left; steps shorter than that say one line at the end.

    >>> with Progress("train", 10, unit="steps", stream=sys.stdout) as progress:   # doctest: +ELLIPSIS
    ...     progress.advance(10, "loss 1.5")
    train: 10 steps in ...s, loss 1.5
    """

    def __init__(self, what: str, total: float, *, unit: str = "", every_s: float = 5.0, stream: TextIO | None = None) -> None:
        self.what, self.total, self.unit, self.every_s, self.stream = what, total, unit, every_s, stream
        self.done: float = 0
        self.facts = ""
        self.start = self.last = time.monotonic()

    def _count(self, value: float) -> str:
        return size(value) if self.unit == "bytes" else f"{value:.0f}"

    def advance(self, by: float = 1, facts: str = "") -> None:
        """Count `by` units as done; `facts` is what to show beside the count."""
        self.done += by
        self.facts = facts or self.facts
        now = time.monotonic()
        if now - self.last >= self.every_s and self.done < self.total:
            self.last = now
            left = (now - self.start) / self.done * (self.total - self.done) if self.done else 0.0
            unit = "" if self.unit == "bytes" else f" {self.unit}"
            tail = f", {self.facts}" if self.facts else ""
            _say_for_now(
                f"{self.what}: {self._count(self.done)} of {self._count(self.total)}{unit}, {duration(left)} left{tail}", self.stream
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            unit = "" if self.unit == "bytes" else f" {self.unit}"
            tail = f", {self.facts}" if self.facts else ""
            say(f"{self.what}: {self._count(self.done)}{unit} in {duration(time.monotonic() - self.start)}{tail}", stream=self.stream)
