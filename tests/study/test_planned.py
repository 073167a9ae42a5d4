"""The enumeration of a tuned study's runs, from searches alone."""

from __future__ import annotations

from typing import cast

from olora_bench.study.expand import CellSearch, planned
from olora_bench.study.jobs import Job, Wanted
from olora_bench.study.schema import Contrast, Seeds, Study, Tuning
from olora_bench.study.search import Search

RULE = Tuning(criterion="tune_loss", lrs=(1e-4, 3.16e-4, 1e-3), shared_lr=3.16e-4, seeds=(0,), fresh_seeds=(7, 8))
CONTRAST = Contrast(arm="olora", reference="lora", kind="primary")
STUDY = Study(name="s", title="s", protocol="tuned", contrasts=(CONTRAST,), grids=({"init": ["lora", "olora"]},), tuning=RULE)
LORA, OLORA = Wanted(0, {"init": "lora"}), Wanted(1, {"init": "olora"})
NO_JOB = cast(Job, None)
"""The enumeration passes a cell's job on, and reads nothing of it."""


def test_searched_rates_come_first_and_only_a_chosen_rate_gets_fresh_seeds() -> None:
    """lora chose a rate; olora's search goes on. The shared rate is run at the fresh seeds of both."""
    over, going_on = Search("lora", {1e-4: "start", 1e-3: "extension 1"}, best=1e-4, chosen=1e-4), Search("olora", {1e-4: "start"})
    cell = CellSearch("cell", NO_JOB, {"lora": LORA, "olora": OLORA}, (over, going_on))
    found = [
        (one.values["init"], one.values["lr"], one.values["seed"], one.stage, one.role)
        for one in planned(STUDY, [cell], {"lora": 2, "olora": 2}, lambda _: None)
    ]
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
    assert OLORA.at("start", "tuning", {"lr": 1e-3, "seed": 4}) == Wanted(1, {"init": "olora", "lr": 1e-3, "seed": 4}, "start", "tuning")


def test_finalists_of_a_seed_share_its_parts_and_one_of_them_is_kept() -> None:
    """Search runs read the tune part alone, finalists both parts at their end; what is kept is a finalist again, for another end."""
    tuning = RULE.model_copy(update={"shared_lr": None, "fresh_seeds": None, "finalists": 3})
    study = STUDY.model_copy(update={"tuning": tuning, "seeds": Seeds(first=10, looks=(1, 2))})
    cell = CellSearch("cell", NO_JOB, {"lora": LORA}, (Search("lora", {1e-3: "start"}, best=1e-3, chosen=1e-3),))
    found = list(planned(study, [cell], {"lora": 2}, lambda runs: 1e-3 if runs[1e-3].values["seed"] == 10 else None))
    assert [(one.values["seed"], one.values["lr"], one.stage, one.role) for one in found] == [
        (0, 1e-3, "start", "tuning"),
        *((10, lr, "look 1", "finalist") for lr in (5.62e-4, 1e-3, 1.78e-3)),
        (10, 1e-3, "look 1", "tuned"),
        *((11, lr, "look 2", "finalist") for lr in (5.62e-4, 1e-3, 1.78e-3)),
    ]  # fmt: skip
    assert [(one.values.get("data.block"), one.values["recipe.read"]) for one in found] == [
        (None, "tune"),
        *[(10, "final")] * 4,
        *[(11, "final")] * 3,
    ]
    assert found[2].values == found[4].values and {one.finalists for one in found[1:]} == {(5.62e-4, 1e-3, 1.78e-3)}


def test_a_grid_may_have_finalists_read_more() -> None:
    tuning = RULE.model_copy(update={"shared_lr": None, "finalists": 3})
    point = Wanted(0, {"init": "lora", "recipe.read": "everything"})
    cell = CellSearch("cell", NO_JOB, {"lora": point}, (Search("lora", {1e-3: "start"}, best=1e-3, chosen=1e-3),))
    found = planned(STUDY.model_copy(update={"tuning": tuning}), [cell], {"lora": 2}, lambda _: None)
    assert [one.values["recipe.read"] for one in found] == ["tune", *["everything"] * 6]
