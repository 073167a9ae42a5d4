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


def model_rank(run: Mapping[str, object]) -> str:
    """A run's model and rank; the model alone where the rank is 0: of imported runs it may not be known, or not be one.

    >>> model_rank({"model": "tinyllama", "rank": 32}), model_rank({"model": "tinyllama", "rank": 0})
    ('tinyllama r32', 'tinyllama')
    """
    return f"{run['model']} r{run['rank']}" if run["rank"] else str(run["model"])


def run_title(run: Mapping[str, object]) -> str:
    """A run's name wherever people read one: terminal, reports, page, W&B. What identifies a run is its train_id.

    Args:
        run: model (its name), arm, rank, lr and seed; a row of the runs table is one. Of imported runs rank or rate may not be known (0,
            NaN): then nothing is said of it.

    >>> run_title({"model": "tinyllama", "arm": "olora", "rank": 32, "lr": 0.0003162278, "seed": 0})
    'tinyllama olora r32 lr 3.16e-4 seed 0'
    >>> run_title({"model": "tinyllama", "arm": "olora", "rank": 0, "lr": float("nan"), "seed": 0})
    'tinyllama olora seed 0'
    """
    lr = run["lr"]
    rank, rate = (f" r{run['rank']}" if run["rank"] else ""), (lr_text(lr) if isinstance(lr, float | int) and lr == lr else lr)
    return f"{run['model']} {run['arm']}{rank}{f' lr {rate}' if rate == rate else ''} seed {run['seed']}"


def title(experiment: Experiment) -> str:
    """`run_title` of the run of an experiment."""
    one = experiment
    return run_title({"model": one.model.name, "arm": one.arm, "rank": one.rank, "lr": one.lr, "seed": one.seed})
