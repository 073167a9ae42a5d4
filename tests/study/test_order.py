"""In which order a study's runs are launched."""

from __future__ import annotations

import random

from olora_bench.study.grid import expand, find_study
from olora_bench.study.sweep import in_order


def test_whole_pairs_come_first() -> None:
    """Of the published study: reported runs before tuning ones, primary arms before others, a cell's arms seed by seed."""
    grids = expand(find_study("smollm2"))
    todo = list(grids.jobs)
    random.Random(0).shuffle(todo)
    found = in_order(grids, todo)
    assert sorted(job.what.train_id for job in found) == sorted(job.what.train_id for job in grids.jobs)
    chooses = [job.roles == ("tuning",) for job in found]
    assert chooses == sorted(chooses)
    reported = [job for job in found if job.roles != ("tuning",)]
    primary = [job.experiment.arm in ("lora", "olora") for job in reported]
    assert primary == sorted(primary, reverse=True)
    first = [(job.experiment.arm, job.experiment.seed) for job in reported[:12]]
    assert len({job.cell for job in reported[:12]}) == 1
    assert [seed for _, seed in first] == [seed for seed in range(10, 16) for _ in range(2)]
    assert all({first[i][0], first[i + 1][0]} == {"lora", "olora"} for i in range(0, 12, 2))
