"""The enumeration of a tuned study's runs, from searches alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from olora_bench.study.expand import CellSearch, find_study, planned
from olora_bench.study.jobs import Job, Wanted
from olora_bench.study.plan import plan_text
from olora_bench.study.schema import Tuning
from olora_bench.study.search import Search

RULE = Tuning(criterion="tune_loss", lrs=(1e-4, 3.16e-4, 1e-3), shared_lr=3.16e-4, seeds=(0,), fresh_seeds=(7, 8))
LORA, OLORA = Wanted(0, {"init": "lora"}), Wanted(1, {"init": "olora"})
NO_JOB = cast(Job, None)
"""The enumeration passes a cell's job on, and reads nothing of it."""


def test_searched_rates_come_first_and_only_a_chosen_rate_gets_fresh_seeds() -> None:
    """lora chose a rate; olora's search goes on. The shared rate is run at the fresh seeds of both."""
    over, going_on = Search("lora", {1e-4: "start", 1e-3: "extension 1"}, best=1e-4, chosen=1e-4), Search("olora", {1e-4: "start"})
    cell = CellSearch("cell", NO_JOB, {"lora": LORA, "olora": OLORA}, (over, going_on))
    found = [(one.values["init"], one.values["lr"], one.values["seed"], one.stage, one.role) for one in planned(RULE, [cell])]
    assert found == [
        ("lora", 1e-4, 0, "start", "tuning"),
        ("lora", 1e-3, 0, "extension 1", "tuning"),
        ("olora", 1e-4, 0, "start", "tuning"),
        ("lora", 1e-4, 7, "fresh seeds", "tuned"),
        ("lora", 1e-4, 8, "fresh seeds", "tuned"),
        ("lora", 3.16e-4, 7, "fresh seeds", "shared"),
        ("lora", 3.16e-4, 8, "fresh seeds", "shared"),
        ("olora", 3.16e-4, 7, "fresh seeds", "shared"),
        ("olora", 3.16e-4, 8, "fresh seeds", "shared"),
    ]


def test_a_wanted_run_keeps_the_number_of_its_grid() -> None:
    """By which a message names the grid."""
    assert OLORA.at(1e-3, 4, "start", "tuning") == Wanted(1, {"init": "olora", "lr": 1e-3, "seed": 4}, "start", "tuning")


def test_the_papers_study_states_the_memory_that_its_plan_computes(tmp_path: Path) -> None:
    """On a GPU, for its largest model."""
    plan = plan_text("paper", [f"machine.results_dir={tmp_path}", "machine.device=cuda"])
    memory, largest = re.search(r"^memory +([\d.]+ GB) .*, (\w+ r\d+)$", plan, re.MULTILINE).groups()  # type: ignore[union-attr]
    stated = re.sub(r"\n# *", " ", find_study("paper").read_text(encoding="utf-8"))
    assert f"training takes up to {memory} of it ({largest.replace(' r', ' at rank ')})" in stated
