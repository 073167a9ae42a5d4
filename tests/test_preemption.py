"""Signals in the main thread of this process: what they raise, when, and that their handlers are put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from olora_bench.process.preemption import ASKED, Preempted, stop_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's own handlers at the start; afterwards those of whoever runs the tests."""
    own = {one: signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL for one in (*ASKED, signal.SIGINT)}
    before = {one: signal.signal(one, handler) for one, handler in own.items()}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize(("number", "raised"), [*((one, Preempted) for one in ASKED), (signal.SIGINT, KeyboardInterrupt)])
def test_at_once_outside_deferred_and_at_its_end_inside(number: signal.Signals, raised: type[BaseException]) -> None:
    with pytest.raises(raised), stop_signals():
        signal.raise_signal(number)
    reached = False
    with pytest.raises(raised), stop_signals() as stop, stop.deferred():
        signal.raise_signal(number)
        reached = stop.requested
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("number", "raised"), [*((one, Preempted) for one in ASKED), (signal.SIGINT, KeyboardInterrupt)])
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    """As the shell has SIGINT for a job in the background, and `nohup` SIGHUP."""
    signal.signal(number, signal.SIG_IGN)
    with stop_signals() as stop:
        signal.raise_signal(number)
    assert not stop.requested


def test_a_launchers_own_handler_stays() -> None:
    heard = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1] and not stop.requested


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGUSR1, 138), (signal.SIGTERM, 143)])
def test_the_exit_code_is_that_of_a_shell(number: signal.Signals, code: int) -> None:
    with pytest.raises(Preempted) as ended, stop_signals() as stop, stop.deferred():
        signal.raise_signal(number)
        raise Preempted
    assert ended.value.code == code


def test_ctrl_c_is_heard_where_nobody_reads_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(number: int, text: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("os.write", gone)
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop, stop.deferred():
        signal.raise_signal(signal.SIGINT)


WORKER = """
import pathlib, time
from olora_bench.process.preemption import Preempted, stop_signals

def work(place):
    with stop_signals() as stop:
        pathlib.Path(place, "began").touch()
        try:
            with stop.deferred():
                for _ in range(600):  # as a training asks between its steps
                    time.sleep(0.05)
                    if stop.requested:
                        raise Preempted
        except Preempted as ended:
            pathlib.Path(place, "ended").write_text(str(ended.code))
            raise
"""
LAUNCHER = """
import sys
from joblib import Parallel, delayed
from worker import work
Parallel(n_jobs=2)(delayed(work)(place) for place in sys.argv[1:])
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_processes_of_joblib_end_with_the_sweep_that_started_them(by: signal.Signals, tmp_path: Path) -> None:
    """It lets them go on by itself; here each is asked to end as by SIGTERM, and keeps what it has."""
    pytest.importorskip("joblib")
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    root = str(Path(__file__).parents[1])
    launcher = subprocess.Popen(
        [sys.executable, "launcher.py", *map(str, places)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": f"{root}:{tmp_path}"}
    )
    assert waited(lambda: all((place / "began").exists() for place in places))
    launcher.send_signal(by)
    launcher.wait(60)
    assert waited(lambda: all((place / "ended").exists() and (place / "ended").read_text() for place in places))
    assert [(place / "ended").read_text() for place in places] == ["143", "143"]


def waited(there: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.05)
    return there()
