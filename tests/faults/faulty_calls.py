"""The calls by which a worker touches its results folder, counted, with one fault planted at one of them."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = ("open", "mkdir", "fsync", "replace", "unlink", "pwrite", "truncate", "utime", "stat")
KINDS = {"kill": 180, "pause": 110, "ENOSPC": 55, "EIO": 55, "ENOMEM": 25, "clock": 25}
"""Kinds of faults and how often each is chosen, of 450."""


@dataclass(frozen=True)
class Fault:
    """What happens at the `call`-th call, before or after it."""

    kind: str
    call: int
    after: bool

    @classmethod
    def drawn(cls, rng: random.Random, calls: int) -> Fault:
        """A fault at any of the calls of an undisturbed worker."""
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        return cls(kind, rng.randrange(calls), rng.random() < 0.5)


def plant(fault: Fault | None, root: Path, note: Callable[[str], object]) -> Callable[[], int]:
    """Wrap the calls; `note` hears of the fault as it happens. Returns a function that says how many calls there were.

    A paused worker stops itself; whoever started it lets it go on.
    """
    main, seen = threading.get_ident(), 0
    prefix = str(root)

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            first = arguments[0] if arguments else ""
            ours = isinstance(first, int) or (isinstance(first, str | os.PathLike) and os.fspath(first).startswith(prefix))
            if threading.get_ident() != main or not ours:
                return call(*arguments, **named)
            seen += 1
            if fault is None or seen - 1 != fault.call:
                return call(*arguments, **named)
            note(f"{fault.kind} {'after' if fault.after else 'before'} {name}")
            if not fault.after:
                strike(fault)
            result = call(*arguments, **named)
            if fault.after and fault.kind in ("kill", "pause", "clock"):
                strike(fault)
            elif fault.after:
                if name == "open":
                    os.close(result)
                strike(fault)
            return result

        return counted

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    fcntl.flock = wrapped("flock", fcntl.flock)
    return lambda: seen


def strike(fault: Fault) -> None:
    """The fault itself."""
    if fault.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.kind == "pause":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault.kind == "clock":
        real, step = time.time, random.Random(fault.call).choice((-86400, -120, 120, 86400))
        time.time = lambda: real() + step
    else:
        code = getattr(errno, fault.kind)
        raise OSError(code, os.strerror(code))
