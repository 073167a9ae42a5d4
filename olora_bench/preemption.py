"""SIGTERM, as Slurm sends it before it takes a machine away, and Ctrl-C: a run ends in good order, and what can be kept is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
INTERRUPTED_CODE = 128 + signal.SIGINT
INTERRUPTED = "interrupted by Ctrl-C. The same command goes on from what is kept"


class Preempted(SystemExit):
    """SIGTERM came. Ends the process with 143, as a shell reports it; on its way out leases are released and adapters taken off."""

    def __init__(self, code: int = EXIT_CODE) -> None:
        super().__init__(code)


class Stop:
    """Whether SIGTERM or SIGINT came. It raises `Preempted`, or `KeyboardInterrupt` for SIGINT, at once, but inside `deferred()` only
    sets `requested`, and raises at the end. A second SIGINT always raises at once."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False
        self._by = signal.SIGTERM

    def request(self, number: int = signal.SIGTERM, _: FrameType | None = None) -> None:
        """The signal handler."""
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested, self._by = True, signal.Signals(number)
        if not self._deferred:
            raise self._ending()
        if number == signal.SIGINT:  # not by `print`, which the signal may have come into
            os.write(2, b"Ctrl-C: the run ends after this step and is kept; once more ends it now\n")

    def _ending(self) -> BaseException:
        return KeyboardInterrupt() if self._by == signal.SIGINT else Preempted()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """For work that asks `requested` by itself and has something to keep first; it may raise `Preempted` for any signal."""
        self._deferred = True
        try:
            yield
        except Preempted:
            raise self._ending() from None
        finally:
            self._deferred = False
        if self.requested:
            raise self._ending()


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """While open, SIGTERM and SIGINT are the `Stop`'s. Only a main thread can have them so; elsewhere they keep their meaning, and so does
    a SIGINT that someone handles already or that the shell has this process ignore."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, stop.request) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
