"""One study with everything in it: tuned and shared learning rates, three schedules, ratios, a control, answers, adapters, fp32 checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.reasons import EvaluationsWarn, RunsDiffer, ScoresWarned
from olora_bench.analysis.scopes import About
from olora_bench.study.names import Home
from olora_bench.study.report import analysed
from olora_bench.words.caveats import worded

Load = Callable[[str], tuple[StudyFrames, Tables]]
SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.fixture
def whole(synthetic: Load) -> Tables:
    return synthetic("whole")[1]


def row(frame: pd.DataFrame, contrast: str = "olora vs lora", role: str = "tuned", **more: object) -> pd.Series:
    mine = frame[(frame["contrast"] == contrast) & (frame["role"] == role)]
    for name, value in more.items():
        mine = mine[mine[name] == value]
    assert len(mine) == 1, f"{len(mine)} rows"
    return mine.iloc[0]


def test_the_tuned_verdict_is_the_studys_and_the_shared_one_stands_beside_it(whole: Tables) -> None:
    """Blocks of 1.25, 3.75 and -1.25 pp, twice; the p of these items only is scipy's, the error of new seeds that of their mean."""
    blocks = np.array([1.25, 3.75, -1.25] * 2)
    tuned, shared = row(whole["verdicts"]), row(whole["verdicts"], role="shared")
    exact = stats.permutation_test((blocks,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert (tuned["verdict"], tuned["confirmatory"], tuned["blocks"]) == ("unresolved", True, 6)
    flips = row(whole["scopes"], measure="score", about=About.FLIPS)
    assert (tuned["difference"], flips["p"]) == (pytest.approx(1.25), pytest.approx(exact.pvalue))
    assert tuned["block_se"] == pytest.approx(stats.sem(blocks)) and tuned["p"] > 0.05
    assert (shared["verdict"], shared["confirmatory"], shared["lr_arm"]) == ("better", False, 3e-4)
    assert shared["difference"] == pytest.approx(10.0) and shared["low"] > 0


def test_a_short_schedule_is_no_substitute_for_a_long_one_that_has_not_run(whole: Tables) -> None:
    """syn_f: 20 steps are done, with a gain of 50 pp; 40 steps are planned. The verdict lacks its pair, and says so."""
    shared = row(whole["verdicts"], role="shared")
    assert (shared["pairs_planned"], shared["pairs_missing"], shared["blocks"]) == (7, 1, 6)
    cells = whole["cells"][whole["cells"]["model"] == "syn_f"]
    assert cells.groupby("longest")["seeds"].max().to_dict() == {True: 0, False: 1}
    assert set(cells["setting"]) == {"20 steps", "40 steps"}
    assert whole["win_counts"].set_index("role")["cells"].to_dict() == {"tuned": 2, "shared": 2}


def test_each_schedule_has_its_own_search_and_blocks_no_headline(whole: Tables) -> None:
    assert row(whole["verdicts"])["open_searches"] == 0
    assert len(whole["sensitivity"]) == 9 and set(whole["sensitivity"]["tuning_runs"]) == {4}
    assert whole["sensitivity"]["longest"].sum() == 5


@pytest.mark.parametrize(("role", "losses"), [("tuned", {10: 2.2, 20: 1.95}), ("shared", {10: 1.97, 20: 1.9})])
def test_the_headline_speed_up_is_told_by_whole_schedules(whole: Tables, role: str, losses: dict[int, float]) -> None:
    """lora ends at 2.4, 2.1 and 2.0 nats after 10, 20 and 40 steps; seeds 10, 11 and 12 of its 40 differ by hundredths."""
    found = whole["equivalent_steps"]
    found = found[(found["role"] == role) & (found["contrast"] == "olora vs lora") & (found["model"] == "syn_e")].set_index("steps")
    assert found["seeds"].to_dict() == {10: 3, 20: 3, 40: 3}
    assert found[found["judged"]].index.tolist() == [20]
    assert found["loss"][[10, 20]].to_dict() == pytest.approx(losses)
    assert found["loss_reference"][[10, 20]].to_dict() == pytest.approx({10: 2.4, 20: 2.1})
    at_forty = 2.0 + 0.005 * np.array([-2, 0, 0]).mean()
    read = np.interp(losses[10], [at_forty, 2.1, 2.4], np.log2([40, 20, 10]))
    expected = 2**read / 10 if losses[10] > at_forty else np.inf
    assert found.loc[10, "ratio"] == pytest.approx(expected, rel=0.004)
    assert (found.loc[20, "ratio"], found.loc[20, "verdict"]) == (np.inf, "faster")


def test_ratios_have_loss_bleu_rouge_and_distance(whole: Tables) -> None:
    found = whole["ratios"]
    assert found["longest"].all() and set(found["model"]) == {"syn_e"}
    tuned = found[(found["roles"] == "tuned") & found["init"].isin(["olora", "olora_plus"])].set_index("lr_ratio").sort_index()
    assert tuned["report_loss"].to_dict() == pytest.approx({0.25: 2.05, 1.0: 2.0, 4.0: 1.9})
    assert tuned["bleu"].to_dict() == pytest.approx({0.25: 29.0, 1.0: 30.0, 4.0: 32.0}) and set(tuned["bleu_base"]) == {20.0}
    assert tuned["rouge2"].to_dict() == pytest.approx({0.25: 0.145, 1.0: 0.15, 4.0: 0.16})
    assert (np.sqrt(2) * tuned["travelled_b"]).to_dict() == pytest.approx({0.25: 0.5, 1.0: 1.0, 4.0: 2.0})
    bleu = row(whole["measures"], "olora_plus_x4 vs olora", measure="bleu")
    assert (bleu["difference"], bleu["verdict"], bleu["unit"]) == (pytest.approx(2.0), "higher", "BLEU points")


def test_scores_carry_their_flips_and_warnings(whole: Tables) -> None:
    cell = row(whole["cells"], benchmark="piqa", metric="acc_norm")
    assert (cell["flips_reference"], cell["flips_arm"], cell["flip_items"]) == (2.5, 5.0, 40)
    assert cell["reasons"] == (ScoresWarned(1, 12),)
    scoring = whole["scoring"].set_index(["model", "arm", "benchmark", "metric"])
    assert scoring.loc[("syn_e", "lora", "boolq", "acc"), "warned"] == (EvaluationsWarn("acc 0.250 is below chance: planted", 1, 16),)
    said = " ".join(map(worded, whole["warnings"]["caveat"]))
    assert "up to 5.0% of items get a different answer than in fp32" in said and "scores of piqa carry warnings" in said


def test_only_the_contrast_that_mixes_versions_says_so(whole: Tables) -> None:
    verdicts = whole["verdicts"].set_index(["contrast", "role"])
    differ = verdicts["reasons"].map(lambda reasons: [one for one in reasons if isinstance(one, RunsDiffer)])
    mixed = [RunsDiffer("torch", ("2.12.0", "2.13.0"))]
    assert differ.to_dict() == {key: mixed if key == ("olora_random vs olora", "tuned") else [] for key in verdicts.index}


def test_the_control_is_compared_on_scores_and_loss(whole: Tables) -> None:
    control = row(whole["verdicts"], "olora_random vs olora")
    assert (control["difference"], control["loss_difference"]) == (0.0, pytest.approx(0.02))
    assert control["verdict"] == "unresolved"


def test_claims_about_adapters_and_ratios() -> None:
    claims = analysed(Home(SYNTHETIC, "whole")).tables["claims"].set_index("claim")
    wanted = {
        "well_conditioned_subspace": "supported",
        "refinement_against_exploration": "supported",
        "olora_plus_better": "supported",
        "ratios_both_sides": "supported",
        "faster_convergence": "supported",
    }
    assert {name: claims.loc[name, "verdict"] for name in wanted} == wanted
    assert claims.loc["well_conditioned_subspace", "figure"] == (
        "condition number of B after training 2, of lora 50, a factor of 0.040 (95% interval 0.039 to 0.041), uncorrected; of A 20 and 2. "
        "Before training it was 1 by construction: most of the verdict is the start, not training"
    )
    text = claims.loc["refinement_against_exploration", "figure"]
    reading = "distance of A 0.25 and B 0.25 times as far, loss +0.150 nats (6 blocks)"
    assert text.startswith(f"ratios below 1 against those above: each at its own rate, {reading}; at shared rates, {reading}; ")
    assert claims.loc["olora_plus_better", "figure"].startswith(
        "olora_plus_x0.25: report_loss +0.050 nats (95% interval +0.042 to +0.058); "
    )
    assert len(claims.loc["refinement_against_exploration", "runs"].split()) == 24


def test_lr_sensitivity_is_linear_interpolation_in_log_lr(whole: Tables) -> None:
    """lora: 2.4, 2.12, 2.1, 2.3 at 1e-4, 3e-4, 3.16e-4, 1e-3; the untouched base is at 4.0. By numpy's own interpolation and a root."""
    from scipy.optimize import brentq

    found = whole["sensitivity"]
    found = found[(found["arm"] == "lora") & found["longest"]].iloc[0]
    lrs, losses = np.array([1e-4, 3e-4, 3.16e-4, 1e-3]), np.array([2.4, 2.12, 2.1, 2.3])

    def loss(lr: float) -> float:
        return float(np.interp(np.log(lr), np.log(lrs), losses))

    assert (found["best_lr"], found["best_loss"]) == (3.16e-4, pytest.approx(2.1))
    assert found["off_low"] == pytest.approx(loss(3.16e-4 / 3) - 2.1) and found["off_high"] == pytest.approx(loss(3 * 3.16e-4) - 2.1)
    limit = 2.1 + 0.05 * (4.0 - 2.1)
    ends = [brentq(lambda lr: loss(lr) - limit, *side) for side in ((1e-4, 3.1e-4), (3.2e-4, 1e-3))]
    assert (found["good_low"], found["good_high"]) == pytest.approx(tuple(ends), rel=1e-6)
    assert found["good_width"] == pytest.approx(ends[1] / ends[0], rel=1e-6) and not found["good_open"]


def judged(frames: StudyFrames, name: str) -> pd.Series:
    from olora_bench.analysis import analyse
    from olora_bench.analysis.claims import judge
    from olora_bench.config import claims_dir
    from olora_bench.report.published import read_claims
    from olora_bench.words.claims import claims_table

    claims = [claim for claim in read_claims(claims_dir()) if claim.claim == name]
    return claims_table(judge(claims, frames, analyse(frames, np.random.default_rng(0)), np.random.default_rng(0))).iloc[0]


def test_what_travels_less_and_ends_lower_is_no_trade_off(synthetic: Load) -> None:
    frames, _ = synthetic("whole")
    losses = frames.runs["metrics.report_loss"] - 0.25 * (frames.runs["arm"] == "olora_plus_x0.25")
    found = judged(replace(frames, runs=frames.runs.assign(**{"metrics.report_loss": losses})), "refinement_against_exploration")
    assert found["verdict"] == "not supported" and found["figure"].count("loss −0.100 nats") == 2


def exchange(name: str, frames: StudyFrames, roles: str) -> StudyFrames:
    """The same study, in whose runs of one role ratios below and above 1 have exchanged this column."""
    runs = frames.runs.copy()
    sides = [runs.index[(runs["arm"] == arm) & (runs["roles"] == roles)] for arm in ("olora_plus_x0.25", "olora_plus_x4")]
    values = [runs.loc[side, name].to_numpy() for side in sides]
    for side, value in zip(sides, reversed(values), strict=True):
        runs.loc[side, name] = value
    return replace(frames, runs=runs)


def test_a_trade_off_at_one_choice_of_rates_alone_is_unresolved(synthetic: Load) -> None:
    frames, _ = synthetic("whole")
    found = judged(exchange("metrics.report_loss", frames, "tuned"), "refinement_against_exploration")
    assert found["verdict"] == "unresolved"
    assert "loss −0.150 nats" in found["figure"] and "loss +0.150 nats" in found["figure"]


def test_a_trade_off_is_not_read_where_a_and_b_disagree(synthetic: Load) -> None:
    """A alone went farther: how far BA went depends on the split. Where the product was measured, it decides."""
    frames, _ = synthetic("whole")
    for role in ("tuned", "shared"):
        frames = exchange("init.anatomy.travelled.a.mean", frames, role)
    assert judged(frames, "refinement_against_exploration")["verdict"] == "unresolved"
    product = {f"init.anatomy.travelled.product.{n}": frames.runs["init.anatomy.travelled.b.mean"] ** 2 for n in ("mean", "min", "max")}
    found = judged(replace(frames, runs=frames.runs.assign(**product)), "refinement_against_exploration")
    assert found["verdict"] == "supported" and "distance of BA 0.06 times as far" in found["figure"]


def test_rates_of_their_own_alone_decide_no_trade_off(synthetic: Load) -> None:
    frames, _ = synthetic("whole")
    found = judged(replace(frames, runs=frames.runs[frames.runs["roles"] != "shared"]), "refinement_against_exploration")
    assert found["verdict"] == "unresolved" and "Not read at equal rates" in found["figure"]


def test_a_worse_conditioned_arm_is_not_called_well_conditioned(synthetic: Load) -> None:
    """The same runs with the two arms' names exchanged."""
    frames, _ = synthetic("whole")
    names = frames.runs["arm"].replace({"lora": "olora", "olora": "lora"})
    assert judged(replace(frames, runs=frames.runs.assign(arm=names)), "well_conditioned_subspace")["verdict"] == "not supported"


def test_a_claim_with_measures_that_no_run_has_is_not_tested(synthetic: Load) -> None:
    """The ratio 4 has the lower loss, and nobody wrote answers: neither shown nor refuted, whatever the loss says."""
    frames, _ = synthetic("whole")
    silent = frames.runs[[name for name in frames.runs if not str(name).startswith("generation.")]]
    found = judged(replace(frames, runs=silent), "olora_plus_better")
    assert found["verdict"] == "not tested here"
    assert "olora_plus_x4: report_loss −0.100 nats (95% interval −0.112 to −0.088); bleu not measured" in found["figure"]


def test_a_curve_inside_one_schedule_decides_nothing(synthetic: Load) -> None:
    """Planted: twice as fast to every target. Without the shorter schedules that is all there is."""
    frames, _ = synthetic("planted")
    found = judged(replace(frames, runs=frames.runs[frames.runs["length"] == 40]), "faster_convergence")
    assert "faster, 0 slower" in found["figure"] and "a hint, which decides nothing" in found["figure"]
    assert found["verdict"] == "unresolved"


def test_a_claim_about_ratios_fails_where_every_ratio_is_worse(synthetic: Load) -> None:
    frames, _ = synthetic("whole")
    contrasts = tuple(c for c in frames.contrasts if c.arm != "olora_plus_x4")
    assert judged(replace(frames, contrasts=contrasts), "olora_plus_better")["verdict"] == "not supported"


def test_published_numbers_stand_beside_the_whole_schedule_at_each_lr(synthetic: Load) -> None:
    """syn_e: six seeds at the tuned lr. syn_f, read as a study of one lr: only 20 of its 40 steps are there, so ours stays empty."""
    from olora_bench.report.published import CSV_COLUMNS, beside_ours

    rows = [("p", model, 8, "lora", "piqa", "acc_norm", 51.0, "") for model in ("syn_e", "syn_f")]
    published = pd.DataFrame(rows, columns=list(CSV_COLUMNS))
    frames, _ = synthetic("whole")
    tuned = beside_ours(published, frames).set_index("model")
    assert tuned.loc["syn_e", ["lr", "setting", "ours", "difference", "seeds"]].tolist() == [3.16e-4, "steps 40", 50.0, -1.0, 6]
    shared = beside_ours(published, replace(frames, protocol="shared_lr")).set_index("model")
    assert np.isnan(shared.loc["syn_f", "ours"]) and shared.loc["syn_e", "lr"] == 3e-4
