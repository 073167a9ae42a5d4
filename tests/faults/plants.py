"""Faults that a worker plants in itself before it starts."""

from __future__ import annotations

import importlib
import os
import resource
import signal
from typing import Any

from olora_bench import training


def raise_at_seed_1_die_at_seed_2() -> None:
    """lora's training of seed 1 raises; that of seed 2 is killed from outside as often as it is started."""
    train = training.train

    def planted(adapted: Any, parts: Any, experiment: Any, **rest: Any) -> Any:
        if experiment.arm == "lora" and experiment.seed == 1:
            raise ZeroDivisionError("planted")
        if experiment.arm == "lora" and experiment.seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(adapted, parts, experiment, **rest)

    training.train = planted


def small_files_only() -> None:
    """A file may have 8 kB at most: a record fits, an adapter does not. To a program that is a disk that fills up."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def hear_ctrl_c() -> None:
    """SIGINT means what it means to a program started at a terminal, whatever the shell of the tests set."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def short_leases() -> None:
    """Leases that are dead after a second."""
    room = importlib.import_module("olora_bench.store.lease")
    room.HEARTBEAT_S, room.DEAD_AFTER_S = 0.1, 1.0  # type: ignore[attr-defined]


def stand_still_after_training() -> None:
    """The process is stopped when its first training is done and nothing of it is published yet."""
    short_leases()
    train = training.train

    def planted(*arguments: Any, **rest: Any) -> Any:
        result = train(*arguments, **rest)
        training.train = train
        os.kill(os.getpid(), signal.SIGSTOP)
        return result

    training.train = planted
