"""SIGTERM, as Slurm sends it before it takes a machine away: the process ends in good order, and nothing that can be kept is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Preempted(SystemExit):
    """SIGTERM came. Ends the process with 143, as a shell reports it; on its way out leases are released and adapters taken off."""

    def __init__(self, code: int = EXIT_CODE) -> None:
        super().__init__(code)


class Stop:
    """Whether SIGTERM came. It raises `Preempted` at once, but inside `deferred()` only sets `requested`, and raises at the end."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def request(self, *_: int | FrameType | None) -> None:
        """The signal handler."""
        repeated, self.requested = self.requested, True
        if not (self._deferred or repeated):
            raise Preempted

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """For work that asks `requested` by itself and has something to keep first."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.requested:
            raise Preempted


@contextlib.contextmanager
def on_sigterm() -> Iterator[Stop]:
    """While open, SIGTERM is the `Stop`'s. Only a main thread can have it so; elsewhere the signal keeps its meaning."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
