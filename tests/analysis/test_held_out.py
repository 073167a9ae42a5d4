"""The difference in held-out loss with the error that new examples bring: small studies made up here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from olora_bench.analysis import StudyFrames, Tables, analyse, load_study, rows_of
from olora_bench.analysis.choices import Choices
from olora_bench.analysis.comparison import Block
from olora_bench.analysis.crossed import Crossed
from olora_bench.analysis.examples import ExampleLosses
from olora_bench.analysis.held_out import HeldOut, final_losses, held_out
from olora_bench.analysis.reasons import ExamplesDiffer, ExamplesUnread, JudgedByLoss
from olora_bench.analysis.scopes import About
from olora_bench.report.extract import extract
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home
from tests.synthetic.make import JITTER, Maker, curve

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


def found(study: StudyFrames, pairs: pd.DataFrame) -> HeldOut:
    return held_out(study.examples, final_losses(study), pairs)


def frames(runs: pd.DataFrame, known: dict[str, ExampleLosses]) -> StudyFrames:
    nothing: Any = pd.DataFrame()
    return StudyFrames("s", "", "shared_lr", (), None, runs, nothing, nothing, nothing, [], lambda *_: None, examples=known.get)


def test_its_value_is_the_mean_difference_of_the_recorded_losses_whatever_it_is_about() -> None:
    study, pairs, _ = planted()
    losses = study.runs.set_index("train_id")["metrics.report_loss"]
    expected = (pairs["arm_id"].map(losses) - pairs["reference_id"].map(losses)).mean()
    new, these = found(study, pairs), found(replace(study, examples=lambda _: None), pairs)
    assert float(new.estimate().value) == pytest.approx(expected, abs=1e-9) and float(these.estimate().value) == pytest.approx(expected)


def test_examples_that_react_differently_add_the_variance_of_a_ratio() -> None:
    """Against a bootstrap of whole examples, which knows nothing of linearisation; two thousand draws leave 2% of error."""
    study, pairs, known = planted()
    estimate = found(study, pairs).estimate()
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, EXAMPLES, (2000, EXAMPLES))
    mean = {arm: np.mean([known[f"m-{arm}-{seed}"].sums[drawn] for seed in range(SEEDS)], axis=0) for arm in ARMS}
    counts = known["m-lora-0"].tokens[drawn].sum(axis=1)
    resampled = (mean["olora"].sum(axis=1) - mean["lora"].sum(axis=1)) / counts
    assert float(estimate.item_se) == pytest.approx(resampled.std(), rel=0.06)


def test_one_run_of_an_older_record_leaves_an_estimate_about_these_examples() -> None:
    study, pairs, known = planted()
    older = found(frames(study.runs, {run: one for run, one in known.items() if run != "m-lora-3"}), pairs)
    assert older.these == ExamplesUnread(runs=1, of=12)
    assert float(older.estimate().item_variance) == 0 and older.new_examples() is None


def test_runs_on_other_examples_leave_an_estimate_about_these_examples() -> None:
    study, pairs, known = planted()
    others = replace(known["m-lora-3"], ids=pa.array([f"other{i}" for i in range(EXAMPLES)]))
    assert found(frames(study.runs, known | {"m-lora-3": others}), pairs).these == ExamplesDiffer()


def test_the_order_in_which_a_record_lists_its_examples_does_not_matter() -> None:
    study, pairs, known = planted()
    order = np.random.default_rng(2).permutation(EXAMPLES)
    mixed = {run: ExampleLosses(one.ids.take(pa.array(order)), one.sums[order], one.tokens[order]) if "-lora-" in run else one
             for run, one in known.items()}  # fmt: skip
    assert found(frames(study.runs, mixed), pairs).estimate() == found(study, pairs).estimate()


def test_several_models_are_compared_with_each_other_and_within_each() -> None:
    study, pairs, _ = planted(("a", "b", "c"))
    three = found(study, pairs)
    across, within = three.estimate(), three.within_models()
    assert isinstance(across, Crossed) and (across.units, across.models) == (3, 3)
    assert isinstance(within, Crossed) and (within.units, within.models) == (3 * SEEDS, 3)
    assert float(within.value) == pytest.approx(float(across.value))


def test_what_is_said_of_new_seeds_is_open_where_the_verdict_is_and_nothing_where_the_loss_is_beside_it() -> None:
    study, pairs, _ = planted(("a", "b", "c"))
    edge = Choices({"cell": pd.DataFrame([[1.0, 2.0, 3.0]])}, {"cell": pd.DataFrame([[2.0, 1.0, 3.0]])})
    judged = replace(found(study, pairs), choices=edge, judged=True)
    for one in (judged.estimate(), judged.within_models()):
        assert one is not None and [float(end) for end in one.interval()] == [-np.inf, pytest.approx(float(one.value + one.half_width()))]
    beside = replace(judged, judged=False)
    for one in (beside.estimate(), beside.within_models()):
        assert one is not None and np.isfinite(one.interval()).all()


def test_pairs_without_a_loss_have_no_blocks() -> None:
    study, pairs, _ = planted()
    lost = study.runs.assign(**{"metrics.report_loss": np.nan})
    assert not found(replace(study, runs=lost), pairs).blocks


SHORT, WIDE = 0.02, 0.4
"""By how much an example's tokens react otherwise than the mean."""


def study_of(root: Path, reaction: float, *, keep: int = SEEDS) -> tuple[StudyFrames, Tables]:
    """Six seeds of two arms on disk, judged by loss: the arm is 0.05 nats a token lower, each example by as much more or less as it reacts.

    Only the first `keep` seeds' runs keep their examples.
    """
    make, runs = Maker(root), []
    tokens = np.arange(1, EXAMPLES + 1)
    react = reaction * np.resize([1.0, -1.0], EXAMPLES)
    react -= (react * tokens).sum() / tokens.sum()
    for arm in ARMS:
        for seed in range(SEEDS):
            entry = make.run("syn", arm, seed, scored=False)
            per_token = 2.0 + (arm == "olora") * (react - 0.05 + 0.001 * JITTER[seed])
            kept = pd.DataFrame({"part": "report", "group": "g", "example_id": [f"e{i}" for i in range(EXAMPLES)],
                                 "loss_sum": (per_token * tokens).astype(np.float32), "tokens": tokens})  # fmt: skip
            shape = curve(40, reaches_end_at=20.0, floor=float(kept["loss_sum"].sum() / tokens.sum()))
            make.record(entry, shape, 2.0)
            if seed < keep:
                record = make.store.read_run(entry["train_id"])
                assert record is not None
                parts = record.parts | {"examples": make.store.write_examples(entry["train_id"], kept)}
                make.store.write_run(record.model_copy(update={"parts": parts}))
            runs.append(entry)
    make.manifest("s", "a study", runs, [("olora", "lora", "primary")])
    manifest = read_manifest(Home(root, "s"))
    assert manifest is not None
    study = load_study(make.store, manifest)
    return study, analyse(study, np.random.default_rng(0))


def test_a_difference_of_these_examples_alone_is_no_verdict_on_new_ones(tmp_path: Path) -> None:
    """The same difference and the same seeds: told from nothing where examples react alike, and not where they react each in its way."""
    verdicts = [study_of(tmp_path / str(reaction), reaction)[1]["verdicts"].iloc[0] for reaction in (SHORT, WIDE)]
    assert [row["verdict"] for row in verdicts] == ["better", "unresolved"]
    assert [row["loss_difference"] for row in verdicts] == pytest.approx([-0.05, -0.05], abs=1e-6)
    assert all(row["loss_new_items"] and row["reasons"] == (JudgedByLoss(),) for row in verdicts)


def test_records_of_which_some_keep_no_examples_say_so_and_speak_of_these(tmp_path: Path) -> None:
    study, tables = study_of(tmp_path, WIDE, keep=5)
    (row,) = rows_of(tables["verdicts"])
    assert (row["verdict"], row["loss_new_items"], row["reasons"]) == ("better", False, (JudgedByLoss(), ExamplesUnread(2, 12)))
    assert set(tables["scopes"]["about"]) == {About.SEEDS, About.FLIPS}
    assert (
        "over new seeds and these examples; 6 blocks of model and seed). By held-out loss: no benchmark is asked, about these examples: "
        "2 of 12 runs keep no losses of single ones."
    ) in extract(study, tables)


def test_a_loss_has_one_interval_wherever_it_is_printed(tmp_path: Path) -> None:
    _, tables = study_of(tmp_path, WIDE)
    (row,) = rows_of(tables["verdicts"])
    losses = tables["measures"][tables["measures"]["measure"] == "report_loss"].iloc[0]
    (scope,) = rows_of(tables["scopes"][tables["scopes"]["about"] == About.SEEDS_AND_ITEMS])
    said = [row["loss_low"], row["loss_high"], row["loss_p"]]
    assert [losses["low"], losses["high"], losses["p"]] == pytest.approx(said)
    assert [scope["low"], scope["high"], scope["p"]] == pytest.approx(said)
    assert set(tables["scopes"]["about"]) == {About.SEEDS_AND_ITEMS, About.ITEMS, About.FLIPS}


def test_the_words_of_a_loss_over_new_examples_name_them(tmp_path: Path) -> None:
    study, tables = study_of(tmp_path, SHORT)
    text = extract(study, tables)
    assert "over new seeds and new examples; 6 blocks" in text
    assert " from blocks, that is seeds and losses of examples that change from seed to seed, and 0.0" in text and " from examples)" in text
    assert "of these trainings on new examples: " in text and "these examples only: p = 0.031" in text


def test_seeds_of_several_models_are_no_independent_blocks_without_examples_either() -> None:
    """Two models that differ the other way: what describes says no more than what judges, with losses of examples or without."""
    rng = np.random.default_rng(1)
    blocks = {Block(model, seed): shift + 0.004 * rng.normal() for model, shift in (("a", -0.07), ("b", 0.02)) for seed in range(6)}
    parts = 0.02 * rng.normal(size=(300, len(blocks)))
    parts += np.array(list(blocks.values())) - parts.mean(axis=0)
    for found in (HeldOut(blocks, ExamplesUnread(12, 12)), HeldOut(blocks, parts)):
        assert found.tested().p == pytest.approx(float(found.estimate().p())) and found.tested().p > 0.5
