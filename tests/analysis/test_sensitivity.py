"""Whether training shows in the scores at all: planted gains over the base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, caveats
from olora_bench.analysis.gaps import warnings
from olora_bench.analysis.sensitivity import insensitive

Load = Callable[[str], tuple[StudyFrames, Tables]]


def test_arms_that_gain_on_the_base_have_assay_sensitivity(synthetic: Load) -> None:
    """planted: olora gains 27.5 pp on piqa in both models, and 8 pp in the mean, more than 80 items could by chance."""
    frames, tables = synthetic("planted")
    found = list(insensitive(frames, tables["cells"]))
    assert not [one for one in found if isinstance(one, caveats.NoSensitivity)]
    assert {one.benchmarks for one in found if isinstance(one, caveats.NoGain)} == {("boolq", "winogrande", "openbookqa")}


def untrained(frames: StudyFrames) -> StudyFrames:
    """The same study, whose runs answer as the untouched base does."""
    bases = {run["eval_id"]: (run["model"], run["base_eval_id"]) for run in frames.runs.to_dict("records")}
    return replace(frames, answers=lambda _, base, eval_id: frames.answers(None, *bases.get(eval_id, (base, eval_id))))


def test_arms_that_answer_as_the_base_have_none(synthetic: Load) -> None:
    frames, tables = synthetic("planted")
    found = [one for one in insensitive(untrained(frames), tables["cells"].assign(constant=0.0)) if isinstance(one, caveats.NoSensitivity)]
    assert [one.model for one in found] == ["syn_a", "syn_b"]
    assert found[1].arms == (caveats.ArmGain("lora", 0.0, 0.0), caveats.ArmGain("olora", 0.0, 0.0))


def test_what_one_constant_answer_gives_is_no_gain(synthetic: Load) -> None:
    """Where the same answer to every item scores as well as the arm, a gain over the base is none."""
    frames, tables = synthetic("planted")
    cells = tables["cells"].assign(constant=100.0)
    found = list(insensitive(frames, cells))
    assert [one.benchmarks for one in found if isinstance(one, caveats.NoGain)] == [("piqa", "boolq", "winogrande", "openbookqa")] * 2
    assert [len(one.arms) for one in found if isinstance(one, caveats.NoSensitivity)] == [3, 2]


def test_trained_arms_that_were_not_compared_with_fp32_are_counted(synthetic: Load) -> None:
    frames, tables = synthetic("whole")
    base = frames.scores["base"].notna()

    def counted(compared: pd.Series) -> list[caveats.NotComparedWithFp32]:
        scores = frames.scores.assign(flips=np.where(compared, 0.0, np.nan))
        return [
            one for one in warnings(replace(frames, scores=scores), dict(tables))["caveat"] if isinstance(one, caveats.NotComparedWithFp32)
        ]

    evaluations = frames.scores[~base]["eval_id"].nunique()
    assert counted(base) == [caveats.NotComparedWithFp32(evaluations, evaluations)]
    assert counted(base | True) == []
    assert counted(base & False) == [], "a base in fp32 has no flips, nor have its arms"
