"""Signals in the main thread of this process: what they raise, when, and that their handlers are put back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from olora_bench.preemption import Preempted, stop_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's own handlers at the start; afterwards those of whoever runs the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)])
def test_at_once_outside_deferred_and_at_its_end_inside(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), stop_signals():
        signal.raise_signal(number)
    reached = False
    with pytest.raises(raised), stop_signals() as stop, stop.deferred():
        signal.raise_signal(number)
        reached = stop.requested
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)])
def test_work_that_stops_by_itself_ends_as_the_signal_asked(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), stop_signals() as stop, stop.deferred():
        signal.raise_signal(number)
        raise Preempted


def test_a_second_ctrl_c_does_not_wait() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop, stop.deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # asked twice, and still kept
        reached = True
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second Ctrl-C was ignored")
    assert reached


def test_an_ignored_sigint_stays_ignored() -> None:
    """As the shell has it for a job in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGINT)
    assert not stop.requested
