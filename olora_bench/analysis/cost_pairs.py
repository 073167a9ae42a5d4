"""What runs cost, pair by pair: the machine's load changes from hour to hour, so means over all runs of an arm do not compare arms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.frames import StudyFrames

SETTING = ["contrast", "arm", "reference", "model", "rank", "setting"]
SAME = ["harness", "device", "processor", "threads"]
"""What both runs of a pair must share for their time and memory to compare."""
FACTS = ["train", "memory", "init"]


def cost_pairs(frames: StudyFrames, pairs: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """One row a pair of finished runs of one seed, made by one version of the harness on one kind of machine, fewest steps first.

    Args:
        frames, pairs, measures: the study, and its tables `pairs` and `run_measures`.

    Returns:
        contrast, arm, reference, model, rank, setting, seed; steps; train (time of optimising, arm over reference), memory (peak above
        the loaded base, arm over reference), init (time of the init itself, arm minus reference, s). A pair that measured none is left out.
    """
    known = (
        measures.drop_duplicates("train_id").set_index("train_id").join(frames.runs.drop_duplicates("train_id").set_index("train_id")[SAME])
    )
    done = pairs[pairs["arm_state"].eq("done") & pairs["reference_state"].eq("done")].drop_duplicates(["arm_id", "reference_id"])
    arm, reference = (known.reindex(done[f"{side}_id"]).set_axis(done.index) for side in ("arm", "reference"))
    found = done[[*SETTING, "seed"]].assign(
        steps=arm["steps"],
        train=arm["train_seconds"] / reference["train_seconds"].replace(0, np.nan),
        memory=arm["peak_above_base_bytes"] / reference["peak_above_base_bytes"].replace(0, np.nan),
        init=arm["init_own_seconds"] - reference["init_own_seconds"],
    )
    alike = (arm[SAME].fillna("") == reference[SAME].fillna("")).all(axis=1)
    found = found[alike].dropna(subset=FACTS, how="all")
    models = {model: place for place, model in enumerate(found["model"].drop_duplicates())}
    return found.assign(place=found["model"].map(models)).sort_values(["place", "rank", "steps"], kind="stable").drop(columns="place")
