"""Commands in this process, under a guard: no exception leaves them but an exit code, none takes more than 10 s, none hangs."""

from __future__ import annotations

import contextlib
import io
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS, WALL = 10.0, 60.0
"""Processor seconds of one command, and seconds by the clock after which it is said to hang: other work may share the machine. The
slowest takes under two; a report once took over three at the end of a whole run of tests. What grows without end takes minutes."""
ODD: list[str] = [
    "", " ", "null", "~", "true", "NaN", "inf", "-inf", "-0", "1e999", "0x_", "1_0", str(2**63), str(-(2**63) - 1), "9" * 5000, "1e-400",
    "2026-99-99", "[]", "[[]]", "{}", "{a: 1}", "{[1]: 2}", "[1,2", "{a", "'", '"', "\\", "a=b", "a: b: c", "*", "&a", "*a",
    "!!python/name:os", "${", "${}", "${seed}", "${lr}", "${model}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "${oc.decode:x}",
    "${machine.results_dir}", "${..}", "${a:${b}}", "../..", "/", "/dev/zero", "a" * 300, "a/" * 300, "\0", "\x1b[2J", "é",
    "\ud800", "😀", "\u2028", "choice(1,2)",
    "range(1,9)", "glob(*)", "1,2,3", "lora,olora", "[lora,olora]", "?", "???", "%s", "{0}", "<b>", "$(id)", "[" * 200 + "]" * 200,
    "{a: " * 150 + "}" * 150,
]  # fmt: skip


class Late(BaseException):
    """A command took too long. No handler of errors takes it for one."""


def _late(number: int, frame: Any) -> None:
    raise Late(f"more than {SECONDS:g} s of the processor" if number == signal.SIGPROF else "hangs")


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    before = [(one, signal.signal(one, _late)) for one in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in before:
            signal.signal(one, handler)


def trouble(command: Callable[[], object]) -> str | None:
    """What is wrong with how a command ended, or None: it ended by itself with 0, 1 or 2, and said why in words."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    try:
        with _limits(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
    except SystemExit as ended:
        code = ended.code
    except (Exception, Late):
        return traceback.format_exc(limit=-6)
    said = out.getvalue() + err.getvalue()
    if "Traceback" in said:
        return said[-2000:]
    if code not in (0, 1, 2, None):
        return f"exit code {code}"
    return "no reason given" if code == 2 and not err.getvalue().strip() else None


def run_all(cases: Iterator[tuple[str, Callable[[], object]]]) -> None:
    """Run every case; those that end badly are shown together."""
    wrong = [f"{name}\n{found}" for name, command in cases if (found := trouble(command)) is not None]
    assert not wrong, f"{len(wrong)}:\n" + "\n\n".join(wrong[:8])


def odd(rng: random.Random) -> str:
    """A value that few expect."""
    if rng.random() < 0.8:
        return rng.choice(ODD)
    return "".join(rng.choice("aé1.,:=[]{}()'\"$\\~+-*&!@#%^|<>?/ \t\n") for _ in range(rng.randrange(1, 12)))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra's state, the command line and the folder are as before afterwards; relative paths lie in the test's folder."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["olora_bench"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("OLORA_BENCH_RESULTS", str(tmp_path / "results"))
    yield
    GlobalHydra.instance().clear()
