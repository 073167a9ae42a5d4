"""What arms cost and what their adapters are made of, in words."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis import rows_of
from olora_bench.process.progress import size
from olora_bench.words.numbers import NOTHING, listed, number, whole
from olora_bench.words.rates import arm_in_cell


def cost_table(costs: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what each arm costs, a row a row of the costs frame."""
    rows = [
        [arm_in_cell(row), str(row["n_runs"]), number(row["train_seconds"]), number(row["tokens_per_s"], digits=0),
         number(row["init_seconds"], digits=2), NOTHING if pd.isna(row["init_share"]) else f"{row['init_share']:.1%}",
         NOTHING if pd.isna(row["peak_above_base_bytes"]) else size(int(row["peak_above_base_bytes"])),
         whole(row["parameters_trainable"])]
        for row in rows_of(costs)
    ]  # fmt: skip
    return ["arm", "runs", "train s", "tokens/s", "init s", "init share", "memory above base", "trainable"], rows


def cost_caption(costs: pd.DataFrame, processors: pd.Series[str], *, memory: bool) -> list[str]:
    """What a figure of costs shows, in sentences; without `memory`, why it is left out."""
    return [
        f"Time of optimising{', peak memory above the loaded base,' if memory else ''} and the init's share of init and training.",
        "" if memory else "Memory is left out: the runs were made by several versions of the harness, which use it differently.",
        f"Means over finished runs ({listed(costs['n_runs'])} an arm). Machine: {listed(processors)}.",
    ]


def anatomy_caption(facts: pd.DataFrame) -> list[str]:
    """What a figure of adapters shows, in sentences."""
    return [
        "Open: as the init left them; filled: trained; thin line: least to greatest of the layers after training. B from orthonormal: "
        "|BᵀB − I| / √r. Energy share: |sBA|² / |W|². Overlap: the share of B's columns (A's rows) that lies in W's top r left (right) "
        "singular directions. Condition: greatest by least singular value. A factor that is 0 has none of these. Travels: norm "
        "(Frobenius) of the change.",
        f"Means over layers and {listed(facts['n_runs'])} runs.",
    ]
