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
         number(row["init_own_seconds"], digits=2), number(row["init_seconds"], digits=2),
         NOTHING if pd.isna(row["init_share"]) else f"{row['init_share']:.1%}",
         NOTHING if pd.isna(row["peak_above_base_bytes"]) else size(int(row["peak_above_base_bytes"])),
         whole(row["parameters_trainable"])]
        for row in rows_of(costs)
    ]  # fmt: skip
    return ["arm", "runs", "train s", "tokens/s", "init itself s", "init phase s", "phase share", "memory above base", "trainable"], rows


def cost_caption(pairs: pd.DataFrame) -> list[str]:
    """What a figure of costs shows, in sentences. `pairs` is drawn."""
    counts = pairs.groupby(["contrast", "model", "rank", "setting"]).size()
    memory = ", peak memory above the loaded base" if pairs["memory"].notna().any() else ""
    return [
        f"Time of optimising{memory} (ratios on a logarithmic axis, bar: geometric mean) and time of the init itself (seconds more), of an "
        "arm beside its reference: two runs of one setting and seed, made by one version of the harness on one kind of machine.",
        "The two ran at different times, beside other work on the machine: dots on both sides of the line show no difference.",
        f"Pairs of runs in a row: {listed(counts)}.",
    ]


def anatomy_caption(facts: pd.DataFrame) -> list[str]:
    """What a figure of adapters shows, in sentences."""
    return [
        "Open: as the init left them; filled: trained; thin line: least to greatest of the layers. B from orthonormal: |BᵀB − I| / √r. "
        "Size of sBA: its squared norm as a share of W's, |sBA|² / |W|², with s the scale of LoRA. "
        "Overlap: the share of B's columns (A's rows) that lies in W's top "
        "r left (right) singular directions. Condition: greatest by least singular value. A factor that is 0, as B is before LoRA's "
        "training, has no overlap and no condition. How far a factor moved: the Frobenius norm of its change.",
        f"Means over layers and {listed(facts['n_runs'])} runs.",
    ]
