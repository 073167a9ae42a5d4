"""Assay sensitivity: whether a study's training shows in its scores at all, so that a difference between arms could show there too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from olora_bench.analysis import caveats
from olora_bench.analysis.cells import one_answer_pays
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.runs import REPORTED, with_role

_WHO = ("train_id", "model", "eval_id", "base_eval_id")
_Z = float(stats.norm.ppf(1 - LEVEL / 2))


def insensitive(frames: StudyFrames, cells: pd.DataFrame) -> Iterator[caveats.NoSensitivity | caveats.NoGain]:
    """Where trained arms are not shown to gain on the untouched base beyond what one constant answer gives.

    An arm's gain on a benchmark is its mean score minus the greater of the base's and of the constant answer's, the latter only where that
    answer pays; shown is a gain whose 95% interval over items lies above 0. The spread of seeds is not in it: it could only widen it.

    Args:
        frames: the study.
        cells: its table of cells, for what a constant answer scores.
    """
    for role in REPORTED:
        runs = with_role(frames.runs[frames.runs["longest"] & (frames.runs["eval_state"] == "done")], role)
        for model, group in runs.groupby("model", sort=False):
            gains = _gains(frames, group, cells[(cells["model"] == model) & cells["primary"].astype(bool)])
            if len(gains):
                yield from _judged(frames, gains, role, str(model))


def _judged(frames: StudyFrames, gains: pd.DataFrame, role: str, model: str) -> Iterator[caveats.NoSensitivity | caveats.NoGain]:
    """`gains`: a row an (arm, benchmark), its `gain` and `error` in percentage points."""
    whole = gains.groupby("arm", sort=False).agg(gain=("gain", "mean"), error=("error", lambda e: np.sqrt((e**2).sum()) / len(e)))
    flat = whole[whole["gain"] <= _Z * whole["error"]]
    if any({one.arm, one.reference} <= set(flat.index) for one in frames.contrasts):
        arms = tuple(caveats.ArmGain(str(arm), float(row["gain"]), _Z * float(row["error"])) for arm, row in flat.iterrows())
        yield caveats.NoSensitivity(role, model, arms)
    shown = set(gains[gains["gain"] > _Z * gains["error"]]["benchmark"])
    missed = tuple(name for name in dict.fromkeys(gains["benchmark"]) if name not in shown)
    if missed:
        yield caveats.NoGain(role, model, missed)


def _gains(frames: StudyFrames, runs: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    paying = cells[one_answer_pays(cells)] if len(cells) else cells
    constants = {str(name): float(group["constant"].max()) / 100 for name, group in paying.groupby("benchmark")}
    metrics = dict(zip(cells["benchmark"], cells["metric"], strict=True))
    rows = [
        {"arm": arm, "benchmark": benchmark} | gain
        for arm, group in runs.groupby("arm", sort=False)
        for benchmark, metric in metrics.items()
        if (gain := _gain(frames, group, str(benchmark), str(metric), constants.get(str(benchmark), 0.0))) is not None
    ]
    return pd.DataFrame(rows, columns=["arm", "benchmark", "gain", "error"])


def _gain(frames: StudyFrames, runs: pd.DataFrame, benchmark: str, metric: str, constant: float) -> dict[str, float] | None:
    """An arm's gain on one benchmark and its standard error over items; None where answers are not there, or are of other items."""
    right: list[NDArray[np.int64]] = []  # over runs, how often each item is: theirs, their untouched bases'
    for train_id, model, own, of_base in zip(*(runs[name].tolist() for name in _WHO), strict=True):
        answers = frames.answers(train_id, None, own), frames.answers(None, model, of_base)
        known = [found[benchmark] for found in answers if found is not None and benchmark in found]
        if len(known) < 2 or not known[0].item_id.equals(known[1].item_id):
            return None
        more = [one.right(metric) for one in known]
        right = right or [np.zeros(len(more[0]), np.int64) for _ in more]
        if len(more[0]) != len(right[0]):
            return None
        for sums, one in zip(right, more, strict=True):
            sums += one
    if not right:
        return None
    arm, base = (sums / len(runs) for sums in right)
    floor = max(float(base.mean()), constant)
    # Which items a constant answer gets right is not kept: its errors count as if they were independent of the arm's.
    spread = np.var(arm - base, ddof=1) if floor > constant else np.var(arm, ddof=1) + constant * (1 - constant)
    return {"gain": 100 * float(arm.mean() - floor), "error": 100 * float(np.sqrt(spread / len(arm)))}
