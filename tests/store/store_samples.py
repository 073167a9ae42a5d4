"""Records and tables small enough to check by eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from olora_bench.store import EvalRecord, RunRecord

RUN = "00112233445566aa"
OTHER_RUN = "00112233445566bb"
EVAL = "ffeeddccbbaa0011"

CONFIG: dict[str, Any] = {
    "model": {"name": "tiny_llama"}, "init": {"name": "olora"}, "data": {"name": "commonsense"}, "recipe": {"name": "default"},
    "rank": 4, "alpha": 2.0, "lr": 3e-4, "seed": 1, "precision": "fp32",
}  # fmt: skip


def run_record(**changes: Any) -> RunRecord:
    """A finished run; keywords change its fields."""
    fields: dict[str, Any] = {
        "train_id": RUN, "arm": "olora", "status": "done", "identity": {"rank": 4}, "config": CONFIG,
        "provenance": {"packages": {"torch": "2.13.0"}},
        "started_at": "2026-01-31T09:30:00+00:00", "finished_at": "2026-01-31T09:31:00.5+00:00", "timings_s": {"train": 50.0},
        "tokens_per_s": 1000.0, "examples_per_s": 10.0, "base_bytes": 100, "peak_bytes": 300, "peak_above_base_bytes": 200,
        "parameters_total": 1000, "parameters_trainable": 10, "adapter_bytes": 40, "steps": 2, "clipped_step_share": 0.5,
        "data": {"train": 32}, "metrics": {"report_loss": 1.25}, "init": {"seconds": 0.1},
    }  # fmt: skip
    return RunRecord(**(fields | changes))


def eval_record(**changes: Any) -> EvalRecord:
    """A finished evaluation of `RUN` on two made-up items of piqa; keywords change its fields."""
    fields: dict[str, Any] = {
        "eval_id": EVAL, "train_id": RUN, "status": "done", "identity": {"limit": 2},
        "config": {"name": "commonsense6", "limit": 2, "num_fewshot": 0},
        "provenance": {}, "started_at": "2026-01-31T09:31:00+00:00", "finished_at": "2026-01-31T09:32:00+00:00",
        "scores": {
            "piqa": {
                "metrics": {"acc_norm": 0.5, "acc": 1.0}, "stderr": {"acc_norm": 0.5, "acc": 0.0}, "primary": "acc_norm", "items": 2,
                "chance": 0.5, "gold_logprob": -3.5, "truncated": 0,
            }
        },
    }  # fmt: skip
    return EvalRecord(**(fields | changes))


def curve() -> pd.DataFrame:
    """Two steps; the losses of the parts are read at the second only."""
    return pd.DataFrame(
        {
            "step": [1, 2], "tokens": [10, 25], "wall_s": [0.5, 1.0], "train_loss": [2.0, 1.5], "tune_loss": [None, 1.4],
            "report_loss": [None, 1.25], "lr": [1e-4, 3e-4], "grad_norm": [0.9, 1.1],
        }
    )  # fmt: skip


def examples() -> pd.DataFrame:
    """The final losses of three examples of piqa."""
    return pd.DataFrame(
        {
            "part": ["tune", "report", "report"], "group": ["piqa"] * 3, "example_id": ["0", "1", "7"],
            "loss_sum": np.array([3.5, 0.1, 2.25], dtype=np.float32), "tokens": [4, 1, 2],
        }
    )  # fmt: skip


def items() -> pd.DataFrame:
    """Two items of piqa."""
    return pd.DataFrame(
        {
            "benchmark": ["piqa", "piqa"], "item_id": ["0", "7"], "gold": [0, 1], "prediction": [0, 1], "prediction_norm": [0, 0],
            "correct": [True, True], "correct_norm": [True, False],
            "loglikelihoods": [[-1.0, -2.0], [-8.0, -6.0]], "lengths": [[10, 11], [12, 5]],
        }
    )  # fmt: skip
