"""A made-up study as large as a year of work: 600 runs of ten models, five learning rates and six seeds, with noisy curves of 400 steps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "synthetic"))

from make import BENCHMARKS, Maker, right_answers

LRS = (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2)
STEPS = 400


def noisy_curve(rng: np.random.Generator, end: float, step_seconds: float) -> pd.DataFrame:
    """A loss that falls towards `end` with noise in every train loss, read on the held-out parts every twenty steps."""
    step = np.arange(STEPS + 1)
    trend = end + (4.0 - end) * np.exp(-step / 60)
    read = step % 20 == 0
    seconds = np.cumsum(rng.uniform(0.9, 1.1, STEPS + 1) * step_seconds)
    return pd.DataFrame({
        "step": step, "tokens": np.cumsum(rng.integers(1500, 2500, STEPS + 1)), "wall_s": seconds,
        "train_loss": np.where(step > 0, trend + rng.normal(0, 0.1, STEPS + 1), np.nan), "tune_loss": np.where(read, trend + 0.05, np.nan),
        "report_loss": np.where(read, trend + 0.04 + rng.normal(0, 0.01, STEPS + 1), np.nan), "lr": np.where(step > 0, 1e-3, np.nan),
        "grad_norm": np.where(step > 0, rng.uniform(0.5, 2.0, STEPS + 1), np.nan),
    })  # fmt: skip


def write_big_study(root: Path, models: int = 10, seeds: int = 6) -> int:
    """Write the study `big` below `root`; how many runs it has."""
    make, rng, runs = Maker(root), np.random.default_rng(7), []
    for model in (f"model_{number}" for number in range(models)):
        for arm in ("lora", "olora"):
            for place, lr in enumerate(LRS):
                for seed in range(seeds):
                    entry = make.run(model, arm, seed, lr=lr, steps=STEPS)
                    best = 2 if arm == "lora" else 1
                    shape = noisy_curve(rng, 2.0 + 0.1 * (place - best) ** 2, 0.5 if arm == "lora" else 0.6)
                    make.record(entry, shape, float(shape["tune_loss"].iloc[-1]))
                    counts = right_answers(arm, model, seed)
                    make.score(entry, {name: int(np.clip(count + rng.integers(-2, 3), 0, 40)) for name, count in counts.items()})
                    runs.append(entry)
        make.score(runs[-1], dict.fromkeys(BENCHMARKS, 18), base=True)
    make.manifest("big", "six hundred made-up runs", runs, [("olora", "lora", "primary")])
    return len(runs)


if __name__ == "__main__":
    print(write_big_study(Path(sys.argv[1])), "runs")
