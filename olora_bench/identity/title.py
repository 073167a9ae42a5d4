"""What people call a run, and how they read its learning rate: the one way, from the terminal to W&B."""

from __future__ import annotations

from collections.abc import Mapping

from olora_bench.config import Experiment


def lr_text(value: float) -> str:
    """A learning rate, three digits, in the fewest characters that people read without counting zeros.

    >>> lr_text(3.16e-4), lr_text(1e-3), lr_text(0.25)
    ('3.16e-4', '1e-3', '0.25')
    """
    if value >= 0.1 or value <= 0:
        return f"{value:.3g}"
    digits, power = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def run_title(run: Mapping[str, object]) -> str:
    """A run's name wherever people read one: terminal, reports, page, W&B. What identifies a run is its train_id.

    Args:
        run: model (its name), arm, rank, lr and seed; a row of the runs table is one.

    >>> run_title({"model": "tinyllama", "arm": "olora", "rank": 32, "lr": 0.0003162278, "seed": 0})
    'tinyllama olora r32 lr 3.16e-4 seed 0'
    """
    lr = run["lr"]
    return f"{run['model']} {run['arm']} r{run['rank']} lr {lr_text(lr) if isinstance(lr, float | int) else lr} seed {run['seed']}"


def title(experiment: Experiment) -> str:
    """`run_title` of the run of an experiment."""
    one = experiment
    return run_title({"model": one.model.name, "arm": one.arm, "rank": one.rank, "lr": one.lr, "seed": one.seed})
