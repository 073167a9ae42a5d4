"""`protocol: tuned`: start grid, edges extended for every arm, refinement, fresh seeds; a planted loss stands for training."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from planting import MakeStudy, ReadManifest, SweepStudy

from olora_bench.config import Experiment
from olora_bench.study.schema import Tuning
from olora_bench.study.search import neighbours, rung, search

TUNED = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0, 1], fresh_seeds: [10, 11, 12], max_extensions: 3}
"""


def bowl(**optima: float) -> Callable[[Experiment], float]:
    """A loss with its optimum at each arm's learning rate, the distance counted in decades."""
    return lambda experiment: 1 + abs(math.log10(experiment.lr / optima[experiment.arm])) + experiment.seed / 1000


def rates(batch: list[Experiment], arm: str) -> list[float]:
    return sorted({experiment.lr for experiment in batch if experiment.arm == arm})


def test_an_optimum_outside_the_start_grid(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """olora's is a decade below: both arms are extended, then each refined about its own best, then run at fresh seeds."""
    opened = study(TUNED)
    planter, found = sweep(opened, bowl(lora=3.16e-4, olora=1.6e-5))
    assert [(rates(batch, "lora"), rates(batch, "olora")) for batch in planter.batches] == [
        ([1e-4, 3.16e-4, 1e-3], [1e-4, 3.16e-4, 1e-3]),
        ([3.16e-5], [3.16e-5]),
        ([1e-5], [1e-5]),
        ([3.16e-6], [3.16e-6]),
        ([1.78e-4, 5.62e-4], [5.62e-6, 1.78e-5]),
        ([3.16e-4], [1.78e-5]),
    ]
    assert {s.state for s in found} == {"done"}
    assert {experiment.seed for batch in planter.batches[:5] for experiment in batch} == {0, 1}
    assert {experiment.seed for experiment in planter.batches[5]} == {10, 11, 12}
    lora, olora = read_manifest(opened).searches or ()
    assert (lora.chosen, olora.chosen, olora.edge) == (3.16e-4, 1.78e-5, None)
    assert [point.stage for point in olora.points] == [
        "extension 3", "refinement", "extension 2", "refinement", "extension 1", "start", "start", "start",
    ]  # fmt: skip
    assert len(lora.points) == len(olora.points), "an equal budget"
    tuned = [run for run in read_manifest(opened).runs if run.roles == ("tuned",)]
    assert {(run.arm, run.lr) for run in tuned} == {("lora", 3.16e-4), ("olora", 1.78e-5)} and len(tuned) == 6


def test_beyond_the_extension_limit_there_is_no_tuned_verdict(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """olora's best is still the lowest tried: it gets neither a learning rate nor fresh seeds; lora gets both."""
    opened = study(TUNED)
    planter, found = sweep(opened, bowl(lora=3.16e-4, olora=1e-9))
    lora, olora = read_manifest(opened).searches or ()
    assert (lora.chosen, lora.edge) == (3.16e-4, None)
    assert (olora.chosen, olora.edge, olora.best) == (None, "low", 3.16e-6)
    assert {experiment.arm for batch in planter.batches for experiment in batch if experiment.seed >= 10} == {"lora"}
    assert {s.state for s in found} == {"done"}


def test_a_search_killed_at_any_stage_goes_on_where_it_was(study: MakeStudy, sweep: SweepStudy) -> None:
    """The launcher dies after each batch in turn: the same command goes on, and the records are those of an undisturbed study."""
    undisturbed = study(TUNED, "machine.results_dir=" + str(study(TUNED).store.root.parent / "undisturbed"))
    sweep(undisturbed, bowl(lora=3.16e-4, olora=1.6e-5))

    class Killed(BaseException):
        pass

    seen = 0
    for limit in (1, 7, 13, 20, 30):
        opened = study(TUNED)

        def dying(experiment: Experiment, limit: int = limit) -> float:
            nonlocal seen
            if seen == limit:
                raise Killed
            seen += 1
            return bowl(lora=3.16e-4, olora=1.6e-5)(experiment)

        with pytest.raises(Killed):
            sweep(opened, dying)
    opened = study(TUNED)
    sweep(opened, bowl(lora=3.16e-4, olora=1.6e-5))
    interrupted, whole = (one.store.root / one.name / "manifest.json" for one in (opened, undisturbed))
    assert interrupted.read_bytes() == whole.read_bytes()


def test_a_diverged_tuning_run_has_infinite_loss(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """One seed of two diverging at a learning rate is enough to rule it out; the best is then next to it."""
    opened = study(TUNED)

    def outcome(experiment: Experiment) -> float | None:
        return None if experiment.lr > 5e-4 and experiment.seed == 1 else bowl(lora=1e-3, olora=1e-3)(experiment)

    sweep(opened, outcome)
    lora, _ = read_manifest(opened).searches or ()
    points = {point.lr: (point.loss, point.diverged) for point in lora.points}
    assert points[1e-3] == (None, 1) and points[5.62e-4] == (None, 1)
    assert lora.chosen == 3.16e-4


def test_an_arm_that_always_diverges_is_searched_downwards_and_gets_no_verdict(
    study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest
) -> None:
    """Equal losses, infinite ones too, count for the smallest learning rate."""
    opened = study(TUNED)
    sweep(opened, lambda experiment: None if experiment.arm == "olora" else bowl(lora=3.16e-4)(experiment))
    _, olora = read_manifest(opened).searches or ()
    assert (olora.edge, olora.chosen, min(point.lr for point in olora.points)) == ("low", None, 3.16e-6)


def test_a_failed_tuning_run_holds_its_cell_until_it_is_retried(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """A crash is no loss: the search waits, other cells go on, and `retry` completes it."""
    node = TUNED.replace("[lora, olora]}", "[lora, olora], rank: [2, 4]}")
    broken = True

    def outcome(experiment: Experiment) -> float | str:
        crash = broken and experiment.rank == 2 and experiment.arm == "olora" and experiment.lr == 1e-3
        return "planted" if crash else bowl(lora=3.16e-4, olora=3.16e-4)(experiment)

    opened = study(node)
    _, found = sweep(opened, outcome)
    assert sum(s.state != "done" for s in found) == 2, "two seeds"
    chosen = {(one.rank, one.arm): one.chosen for one in read_manifest(opened).searches or ()}
    assert chosen == {(2, "lora"): None, (2, "olora"): None, (4, "lora"): 3.16e-4, (4, "olora"): 3.16e-4}
    broken = False
    opened = study(node)
    _, found = sweep(opened, outcome, retry=True)
    assert {s.state for s in found} == {"done"}
    assert {one.chosen for one in read_manifest(opened).searches or ()} == {3.16e-4}


def test_a_shared_lr_is_a_tuning_point_of_every_arm_and_is_run_at_the_fresh_seeds(
    study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest
) -> None:
    """So that the table of the shared learning rate and the tuned one stand on the same seeds."""
    opened = study(TUNED.replace("max_extensions: 3", "shared_lr: 3.0e-4"))
    sweep(opened, bowl(lora=3e-4, olora=1e-4 * 10**0.25))
    manifest = read_manifest(opened)
    lora, olora = manifest.searches or ()
    assert all(3e-4 in [point.lr for point in one.points] for one in (lora, olora))
    assert lora.chosen == 3e-4
    both = [run for run in manifest.runs if run.seed >= 10]
    assert {(run.arm, run.lr, run.roles) for run in both} == {
        ("lora", 3e-4, ("tuned", "shared")), ("olora", 3e-4, ("shared",)), ("olora", olora.chosen, ("tuned",)),
    }  # fmt: skip


def test_gold_logprob_is_maximised(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """The planted log-probability is minus the planted loss."""
    opened = study(TUNED.replace("tune_loss", "tune_gold_logprob"))
    sweep(opened, bowl(lora=3.16e-4, olora=3.16e-4))
    lora, _ = read_manifest(opened).searches or ()
    assert lora.chosen == 3.16e-4


def test_rungs_do_not_drift() -> None:
    """Sixteen quarter steps of rounded numbers are four decades."""
    assert [rung(n) for n in range(-20, -7, 4)] == [1e-5, 1e-4, 1e-3, 1e-2]
    assert neighbours(3.16e-4) == (rung(-15), rung(-13))
    assert neighbours(3e-4) == (1.69e-4, 5.33e-4), "a shared lr off the ladder keeps its own neighbours"


def test_both_sides_are_extended_when_two_arms_want_so() -> None:
    rule = Tuning(criterion="tune_loss", lrs=(1e-4, 3.16e-4, 1e-3), seeds=(0,), fresh_seeds=(1,), max_extensions=1)
    found = search(["up", "down"], rule, lambda arm, lr: lr if arm == "down" else -lr)
    assert [list(one.tried) for one in found] == [[1e-4, 3.16e-4, 1e-3, 3.16e-5, 3.16e-3]] * 2
    assert [(one.edge, one.chosen) for one in found] == [("high", None), ("low", None)]
