"""The difference in held-out loss with the error that new examples bring: small studies made up here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from olora_bench.analysis.examples import ExampleLosses
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.losses import TheseExamples, loss_estimate

SEEDS, EXAMPLES = 6, 40
ARMS = ("olora", "lora")


def planted(models: tuple[str, ...] = ("m",), shift: float = -0.1) -> tuple[StudyFrames, pd.DataFrame, dict[str, ExampleLosses]]:
    """Runs of two arms at six seeds a model, on examples of unequal length; the arm's loss a token differs by about `shift`."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 30, EXAMPLES).astype(float)
    ids = pa.array([f"e{i}" for i in range(EXAMPLES)])
    hard, reaction = rng.normal(2.0, 0.5, EXAMPLES), rng.normal(0, 0.2, EXAMPLES)
    known: dict[str, ExampleLosses] = {}
    rows = []
    for model in models:
        for seed in range(SEEDS):
            for arm in ARMS:
                per_token = hard + (arm == "olora") * (shift + reaction) + rng.normal(0, 0.02) + rng.normal(0, 0.05, EXAMPLES)
                known[f"{model}-{arm}-{seed}"] = ExampleLosses(ids, (per_token * tokens).astype(np.float32), tokens)
            rows.append({"model": model, "seed": seed, "pair": "complete", **{f"{side}_id": f"{model}-{arm}-{seed}" for side, arm in
                         zip(("arm", "reference"), ARMS, strict=True)}})  # fmt: skip
    runs = pd.DataFrame({"train_id": [*known], "metrics.report_loss": [one.sums.sum(dtype=float) / tokens.sum() for one in known.values()]})
    return frames(runs, known), pd.DataFrame(rows), known


def frames(runs: pd.DataFrame, known: dict[str, ExampleLosses]) -> StudyFrames:
    nothing: Any = pd.DataFrame()
    return StudyFrames("s", "", "shared_lr", (), None, runs, nothing, nothing, nothing, [], lambda *_: None, examples=known.get)


def test_its_value_is_the_mean_difference_of_the_recorded_losses_whatever_it_is_about() -> None:
    study, pairs, _ = planted()
    losses = study.runs.set_index("train_id")["metrics.report_loss"]
    expected = (pairs["arm_id"].map(losses) - pairs["reference_id"].map(losses)).mean()
    new, these = loss_estimate(study, pairs), loss_estimate(replace(study, examples=lambda _: None), pairs)
    assert new is not None and these is not None
    assert float(new.estimate.value) == pytest.approx(expected, abs=1e-9) and float(these.estimate.value) == pytest.approx(expected)


def test_examples_that_react_differently_add_the_variance_of_a_ratio() -> None:
    """Against a bootstrap of whole examples, which knows nothing of linearisation; two thousand draws leave 2% of error."""
    study, pairs, known = planted()
    found = loss_estimate(study, pairs)
    assert found is not None and found.these is None
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, EXAMPLES, (2000, EXAMPLES))
    mean = {arm: np.mean([known[f"m-{arm}-{seed}"].sums[drawn] for seed in range(SEEDS)], axis=0) for arm in ARMS}
    counts = known["m-lora-0"].tokens[drawn].sum(axis=1)
    resampled = (mean["olora"].sum(axis=1) - mean["lora"].sum(axis=1)) / counts
    assert float(found.estimate.item_se) == pytest.approx(resampled.std(), rel=0.06)


def test_one_run_of_an_older_record_leaves_an_estimate_about_these_examples() -> None:
    study, pairs, known = planted()
    older = frames(study.runs, {run: one for run, one in known.items() if run != "m-lora-3"})
    found = loss_estimate(older, pairs)
    assert found is not None and found.these == TheseExamples(without=1, runs=12)
    assert float(found.estimate.item_variance) == 0


def test_runs_on_other_examples_leave_an_estimate_about_these_examples() -> None:
    study, pairs, known = planted()
    others = replace(known["m-lora-3"], ids=pa.array([f"other{i}" for i in range(EXAMPLES)]))
    found = loss_estimate(frames(study.runs, known | {"m-lora-3": others}), pairs)
    assert found is not None and found.these == TheseExamples(without=0, runs=12)


def test_the_order_in_which_a_record_lists_its_examples_does_not_matter() -> None:
    study, pairs, known = planted()
    order = np.random.default_rng(2).permutation(EXAMPLES)
    mixed = {run: ExampleLosses(one.ids.take(pa.array(order)), one.sums[order], one.tokens[order]) if "-lora-" in run else one
             for run, one in known.items()}  # fmt: skip
    assert loss_estimate(frames(study.runs, mixed), pairs) == loss_estimate(study, pairs)


def test_several_models_are_compared_with_each_other() -> None:
    study, pairs, _ = planted(("a", "b", "c"))
    found = loss_estimate(study, pairs)
    assert found is not None and (found.estimate.units, found.estimate.models) == (3, 3)  # type: ignore[attr-defined]


def test_pairs_without_a_loss_have_no_estimate() -> None:
    study, pairs, _ = planted()
    assert loss_estimate(study, pairs.assign(pair="diverged")) is None
