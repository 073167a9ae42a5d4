"""What people call a run."""

from __future__ import annotations

from collections.abc import Mapping

from olora_bench.config import Experiment


def run_title(run: Mapping[str, object]) -> str:
    """A run's name wherever people read one: terminal, reports, page, W&B. What identifies a run is its train_id.

    Args:
        run: model (its name), arm, rank, lr and seed; a row of the runs table is one.

    >>> run_title({"model": "tinyllama", "arm": "olora", "rank": 32, "lr": 0.0003162278, "seed": 0})
    'tinyllama olora r32 lr0.000316 seed 0'
    """
    lr = run["lr"]
    return f"{run['model']} {run['arm']} r{run['rank']} lr{f'{lr:.3g}' if isinstance(lr, float | int) else lr} seed {run['seed']}"


def title(experiment: Experiment) -> str:
    """`run_title` of the run of an experiment."""
    one = experiment
    return run_title({"model": one.model.name, "arm": one.arm, "rank": one.rank, "lr": one.lr, "seed": one.seed})
