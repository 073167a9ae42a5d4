"""The log of a training, without a training."""

from __future__ import annotations

import json

import torch

from olora_bench.training.log import Log, Row, Update
from olora_bench.training.losses import PartLosses
from olora_bench.training.memory import PeakMemory

STEPS = [Update(loss, 1e-3, 0.5, tokens=100, supervised=40, examples=8, seconds=0.25) for loss in (2.5, 2.0, 1.5)]
READ = PartLosses(3.0, -60.0, 3.5, -70.0, torch.tensor([60.0]), torch.tensor([70.0]), seconds=0.125)


def added(log: Log, number: int) -> Log:
    log.count(STEPS[number - 1])
    log.add_row(number, STEPS[number - 1], READ if number == 3 else None)
    return log


def test_a_log_put_back_from_its_state_goes_on_as_the_one_that_was_kept() -> None:
    """Through JSON, as in a checkpoint; the rows of before are passed on first."""
    kept, passed_on = Log(), list[Row]()
    kept.add_row(0, None, READ)
    with PeakMemory(torch.device("cpu")) as memory:
        state = json.loads(json.dumps(added(kept, 1).state(memory)))
    resumed = Log(passed_on.append)
    resumed.restore(state)
    for number in (2, 3):
        added(kept, number), added(resumed, number)
    assert (resumed.rows, resumed.metrics, resumed.train_losses) == (kept.rows, kept.metrics, kept.train_losses)
    assert resumed.totals == kept.totals
    assert passed_on == kept.rows


def test_a_row_of_a_step_has_its_batchs_loss_and_the_totals_so_far() -> None:
    assert added(Log(), 1).rows == [
        {
            "step": 1, "tokens": 100, "wall_s": 0.25, "train_loss": 2.5, "tune_loss": None, "report_loss": None, "lr": 1e-3,
            "grad_norm": 0.5,
        }
    ]  # fmt: skip


def test_part_losses_before_the_first_step_are_the_metrics_at_the_start() -> None:
    log = Log()
    log.add_row(0, None, READ)
    assert log.metrics == {
        "tune_loss_start": 3.0, "tune_gold_logprob_start": -60.0, "report_loss_start": 3.5, "report_gold_logprob_start": -70.0,
    }  # fmt: skip
