"""The profile of training and scoring, on tiny shapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from perf import growth, profile


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


def test_growth_is_fitted_at_three_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: list[str]) -> None:
    """Every kind that needs no study, on tiny shapes: sizes grow, each takes some time."""
    out = tmp_path / "out.json"
    asked = ["--small", "--only", "tokens,items,parameters", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["growth", *asked, *machine])
    assert growth.main() in (0, 1)
    for name in ("tokens", "items", "parameters"):
        sizes = json.loads(out.read_text())[name]["sizes"]
        assert len(sizes) == 3 and all(one["cpu_seconds"] > 0 for one in sizes)
        assert [one["size"] for one in sizes] == sorted({one["size"] for one in sizes})


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_an_exponent_is_the_power_of_what_grows_by_one(power: float) -> None:
    assert growth.fitted([{"size": x, "cpu_seconds": 3 * x**power} for x in (1.0, 10.0, 50.0)])["exponent"] == pytest.approx(power)


def test_a_study_that_takes_too_much_memory_does_not_hold() -> None:
    assert growth.largest({"sizes": [{"size": 1.0}, {"size": 2.0, "peak_bytes": 3e9}]}) > growth.BYTES


def test_nearly_all_of_the_time_of_committed_runs_on_processors_was_asked_for() -> None:
    """At least 85% of each but the shortest: what stands beside it is imports, data, the model, the init and the adapter's file."""
    shares = profile.asked_for(Path(__file__).parents[1] / "results")
    longer, short = shares["processors"], shares[f"processors, in under {profile.SHORT} steps"]
    assert longer["runs"] > 200 and short["runs"] > 200
    assert 0.85 < longer["least"] <= longer["median"] < 1 and short["median"] > 0.85
