"""Signals that ask a process to end: a run ends in good order, and what can be kept is kept.

SIGTERM and SIGUSR1, as Slurm sends them before it takes a machine away; SIGHUP, when a terminal is closed; Ctrl-C.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

JOBLIBS = "LokyProcess"
"""What joblib calls its processes, with a number behind."""
LOOKS_EVERY_S = 0.5
ASKED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
INTERRUPTED_CODE = 128 + signal.SIGINT
INTERRUPTED = "interrupted by Ctrl-C. The same command goes on from what is kept"


class Preempted(SystemExit):
    """One of `ASKED` came. Ends the process with 128 and the signal's number, as a shell reports it (143 for SIGTERM); on its way out
    leases are released and adapters taken off."""

    def __init__(self, by: int = signal.SIGTERM) -> None:
        super().__init__(128 + by)


class Stop:
    """Whether one of `ASKED` or SIGINT came. It raises `Preempted`, or `KeyboardInterrupt` for SIGINT, at once, but inside `deferred()`
    only sets `requested`, and raises at the end. A second SIGINT always raises at once."""

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
            with contextlib.suppress(OSError):
                os.write(2, b"Ctrl-C: the run ends after this step and is kept; once more ends it now\n")

    def _ending(self) -> BaseException:
        return KeyboardInterrupt() if self._by == signal.SIGINT else Preempted(self._by)

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
    """While open, SIGINT and those of `ASKED` are the `Stop`'s. Only a main thread can have them so; elsewhere they keep their meaning.
    So do, SIGTERM apart, those that someone handles already (a launcher) or that the process was started to ignore (`nohup`, `&`)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    untouched = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [one for one in (*ASKED, signal.SIGINT) if one == signal.SIGTERM or signal.getsignal(one) in untouched]
    before = {number: signal.signal(number, stop.request) for number in numbers}
    try:
        with _ending_with_the_launcher():
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _ending_with_the_launcher() -> Iterator[None]:
    """A process of the launcher `processes` (joblib's) is asked to end where the sweep that started it ended, however it did: joblib would
    let it train on. Nothing happens in another process."""
    launcher = multiprocessing.parent_process()
    if launcher is None or launcher.pid is None or not multiprocessing.current_process().name.startswith(JOBLIBS):
        yield
        return
    over, pid = threading.Event(), launcher.pid

    def watch() -> None:
        while not over.wait(LOOKS_EVERY_S):
            if os.getppid() != pid:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="launcher watched", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
