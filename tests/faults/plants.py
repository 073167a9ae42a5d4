"""Faults that a worker plants in itself before it starts."""

from __future__ import annotations

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
