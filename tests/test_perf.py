"""The measurements beside lm-eval's HFLM and the trainers: turns, medians and what is held to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from perf import eval as perf_eval
from perf import medians, spread, tables, train


def scored(*seconds: tuple[float, float]) -> dict[str, Any]:
    """A row of perf.eval: a turn a pair of seconds, ours and HFLM's."""
    cost = {"cpu_seconds": 1.0, "tokens": 10}
    pairs = [{"ours": cost | {"seconds": ours, "bytes": 1}, "hflm": cost | {"seconds": hflm, "bytes": 4}} for ours, hflm in seconds]
    return {"benchmark": "all", "shots": "0", "pairs": pairs}


def trained(*speeds: tuple[float, float]) -> list[dict[str, dict[str, Any]]]:
    """Turns of perf.train: examples a second, ours and TRL's."""
    side = {"supervised_tokens_per_s": 1.0, "precision": "bf16"}
    return [
        {
            "ours": side | {"examples_per_s": ours, "peak_above_model_bytes": 1},
            "trl": side | {"examples_per_s": trl, "peak_above_model_bytes": 5},
        }
        for ours, trl in speeds
    ]


def test_what_is_held_to_is_the_median_of_the_turns_ratios() -> None:
    """One slow turn changes nothing, two of three do; the ratio of the medians, 1.5, would tell otherwise."""
    assert perf_eval.misses(scored((1, 2.5), (1, 0.1), (1, 2.5))) == []
    assert perf_eval.misses(scored((1, 1.5), (10, 10), (1, 2.5))) == ["at least 2x"]
    assert train._held(trained((4, 1), (0.1, 1), (4, 1)))
    assert not train._held(trained((3, 1), (0.1, 1), (4, 1)))


def test_more_memory_than_is_held_to_is_a_miss() -> None:
    row = scored((1, 3))
    row["pairs"][0]["ours"]["bytes"] = 3
    assert perf_eval.misses(row) == ["memory at most 0.5"]


def test_medians_are_of_numbers_and_the_rest_is_the_firsts() -> None:
    assert medians([{"a": 3, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "z"}]) == {"a": 2, "b": "x"}
    assert (spread([2.0]), spread([3.0, 1.0, 2.0])) == ("2.00", "2.00 (1.00 to 3.00)")


def test_scoring_is_measured_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model on made-up items: as many turns as are asked for, seconds of tasks added by turn, and the table shows their spread."""
    out = tmp_path / "eval.json"
    asked = ["--model", "tiny_tinyllama", "--dtypes", "fp32", "--shots", "0", "--items", "1", "--batch-sizes", "2,4", "--pairs", "2"]
    monkeypatch.setattr(sys, "argv", ["eval", *asked, "--out", str(out), "suite=commonsense6_made_up", "data=made_up", "rank=1"])
    perf_eval.main()
    found = json.loads(out.read_text())
    *tasks, whole = found["table"]
    assert len(tasks) == 6 and {len(row["pairs"]) for row in found["table"]} == {2}
    for turn in range(2):
        parts = [row["pairs"][turn]["hflm"]["seconds"] for row in tasks]
        assert whole["pairs"][turn]["hflm"]["seconds"] == pytest.approx(sum(parts))
    text = "\n".join(tables.evaluate(found, out))
    assert " to " in text and "--pairs 2" in text and "medians of 2 turns" in text
