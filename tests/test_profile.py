"""The profile of training and scoring, on tiny shapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from perf import profile


def test_every_second_is_of_one_kind(machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both profiles: each kind that a tiny model has takes some time, and all together no more than the work took."""
    out = tmp_path / "out.json"
    asked = ["--model", "tiny_tinyllama", "--data", "made_up", "--suite", "commonsense6_made_up", "--rank", "5", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["profile", *asked, "--items", "2", "--threads", "1", "--out", str(out), *machine])
    assert profile.main() == 0
    found = json.loads(out.read_text())
    for part in ("training", "scoring"):
        kinds, whole = found[part]["kinds"], found[part]["profiled_seconds"]
        assert kinds.keys() == set(profile.KINDS)
        assert all(kinds[kind] > 0 for kind in ("matmul", "attention", "norms and activations", "adapter", "head")), kinds
        assert sum(kinds.values()) == pytest.approx(whole)
        assert 0 < found[part]["share_of_ceiling"] < 1
    assert found["training"]["losses_read_s"] > 0


def test_an_operation_is_of_the_kind_of_what_is_around_it() -> None:
    """A product inside attention is attention's; outside it is the adapter's where a side is as long as the rank, else the model's."""
    whole, low = torch.randn(64, 64), torch.randn(64, 5)

    def work() -> None:
        for _ in range(50):
            whole @ whole
        with torch.profiler.record_function("attention"):
            for _ in range(50):
                whole @ whole

    kinds = profile.seconds_by_kind(work, 5, torch.device("cpu"))
    assert kinds["matmul"] > 0 and kinds["attention"] > 0 and kinds["adapter"] == 0
    assert profile.seconds_by_kind(lambda: whole @ low, 5, torch.device("cpu"))["adapter"] > 0
