"""What docs/results.md says of the first study, held to its records."""

from __future__ import annotations

from functools import cache

import pandas as pd
import pytest
import scipy.stats

from olora_bench.analysis.paired import holm
from olora_bench.analysis.runs import has_role, with_role
from tests.committed_results import read
from tests.page_claims import Claims, parts_of

CLAIMS = Claims()
says = CLAIMS.says


@cache
def against_lora(role: str, table: str) -> pd.DataFrame:
    """A table's rows of OLoRA against LoRA, at rates of their own (`tuned`) or at one (`shared`)."""
    frame = read("smollm2").tables[table]
    return frame[(frame["contrast"] == "olora vs lora") & (frame["role"] == role)]


def overall(role: str) -> pd.Series:
    return against_lora(role, "verdicts").iloc[0]


def benchmarks(role: str) -> pd.DataFrame:
    """A row a benchmark, of the longest runs."""
    cells = against_lora(role, "cells")
    return cells[cells["primary"] & cells["longest"]].set_index("benchmark")


def without_each(role: str) -> pd.DataFrame:
    return against_lora(role, "left_out").set_index("benchmark")


def against_olora(arm: str, role: str) -> pd.Series:
    return read("smollm2").tables["verdicts"].set_index(["contrast", "role"]).loc[(f"{arm} vs olora", role)]


def rates() -> pd.DataFrame:
    frame = read("smollm2").tables["rates"]
    return frame[frame["longest"].astype(bool)]


def searched_by_lora() -> tuple[pd.DataFrame, int]:
    """LoRA's searched rates, lowest first, and the position of the best one."""
    lora = rates()
    lora = lora[(lora["arm"] == "lora") & lora["searched"]].sort_values("lr").reset_index(drop=True)
    return lora, int(lora.index[lora["best"]][0])


# Each arm at a rate of its own.


@says("Each arm at a learning rate of its own, it is unresolved whether OLoRA or LoRA scores higher")
def unresolved_at_rates_of_their_own() -> None:
    assert overall("tuned")["verdict"] == "unresolved"


@says("OLoRA leads in the mean over the six benchmarks on all six seeds, on one of them by a single item; its lead is below a point")
def a_lead_of_one_item_and_more() -> None:
    assert overall("tuned")["blocks_for"] == overall("tuned")["blocks"] == 6
    assert 0 < overall("tuned")["difference"] < 1
    differences = against_lora("tuned", "differences")
    assert differences[differences["primary"] & differences["longest"]].groupby("seed")["more"].sum().min() == 1


@says("below what the study finds four times in five")
def a_lead_below_what_is_found() -> None:
    assert overall("tuned")["difference"] < overall("tuned")["found"]


@says("Over new seeds and new items of these benchmarks the interval includes zero")
def the_interval_includes_zero() -> None:
    assert overall("tuned")["low"] < 0 < overall("tuned")["high"]


@says("Every seed sees the same 1,024 examples")
def every_seed_sees_the_same_examples() -> None:
    """64 steps of 16 are the whole part, so that all full trainings read as many tokens; shorter ones do not."""
    found = read("smollm2").frames
    done = found.runs[(found.runs["state"] == "done") & found.runs["longest"]]
    assert set(done["length"] * 16) == {1024}
    tokens = found.curves.groupby("train_id")["tokens"].max()
    assert tokens[done["train_id"]].nunique() == 1


@says("the held-out loss is of 128 examples with 822 supervised tokens")
def held_out_examples() -> None:
    assert parts_of("smollm2", "examples") == {128} and parts_of("smollm2", "supervised_tokens") == {822}


@says("No benchmark alone is decided")
def no_benchmark_is_decided() -> None:
    assert len(benchmarks("tuned")) == 6
    assert set(benchmarks("tuned")["verdict"]) == {"unresolved"}


@says("PIQA leans to LoRA")
def only_piqa_leans_to_lora() -> None:
    highs = against_lora("tuned", "cells").set_index("benchmark")["high"]
    assert highs.loc[highs < 0].index.unique().tolist() == ["piqa"]


@says("without any one of the benchmarks the interval includes zero too")
def zero_without_any_one() -> None:
    assert (without_each("tuned")["low"] < 0).all() and (without_each("tuned")["high"] > 0).all()


@says("without any one but PIQA OLoRA leads on fewer seeds")
def fewer_seeds_without_any_but_piqa() -> None:
    blocks = without_each("tuned")["blocks_for"]
    assert blocks["piqa"] == 6 and (blocks.drop("piqa") < 6).all()


@says("LoRA ends at the lower held-out loss at the rates chosen")
def loras_lower_loss() -> None:
    assert overall("tuned")["loss_low"] > 0


@says("records keep no loss of single examples, so this is about these examples")
def the_loss_is_about_these_examples() -> None:
    assert not overall("tuned")["loss_new_items"]


# All arms at one rate.


@says("At the one learning rate of the author's example OLoRA is better: it scores higher over new seeds and new items")
def better_at_the_shared_rate() -> None:
    assert overall("shared")["verdict"] == "better"
    assert overall("shared")["blocks_for"] == overall("shared")["blocks"] == 6
    assert len(benchmarks("shared")) == 6


@says("has a lower loss, and LoRA's final loss in half the steps")
def lower_loss_in_half_the_steps() -> None:
    assert overall("shared")["loss_high"] < 0
    half = against_lora("shared", "equivalent_steps").set_index("steps").loc[32]
    assert half["low"] == 2 and half["verdict"] == "faster"


@says("That rate lies nearer to OLoRA's best than to LoRA's, which in that search is ten times OLoRA's")
def the_shared_rate_is_nearer_to_oloras() -> None:
    best = rates()[rates()["best"]].set_index("arm")["lr"]
    assert best["lora"] == pytest.approx(10 * best["olora"]) and best["olora"] > 3e-4


@says("Most of this gain is BoolQ alone")
def most_of_the_gain_is_boolq() -> None:
    assert without_each("shared")["difference"]["boolq"] < overall("shared")["difference"] / 2


@says("where the untouched model is below chance")
def the_base_is_below_chance_on_boolq() -> None:
    boolq = benchmarks("shared").loc["boolq"]
    assert boolq["base"] < boolq["chance"] - 2


@says("there LoRA says yes to a fifth of the questions and OLoRA to two thirds")
def who_says_yes() -> None:
    assert benchmarks("shared").loc["boolq", ["gave_reference", "gave_arm"]].to_list() == pytest.approx([20, 66.7], abs=2)


@says("no arm's mean, at either rate, reaches what saying yes to all of them would score")
def no_arm_reaches_yes_to_all() -> None:
    cells = read("smollm2").tables["cells"]
    boolq = cells[(cells["benchmark"] == "boolq") & cells["longest"]]
    assert len(boolq) == 10
    assert (boolq[["score_arm", "score_reference"]].max(axis=1) < boolq["constant"]).all()


@says("Without BoolQ the interval includes zero, and so it does without ARC-Challenge")
def zero_without_either() -> None:
    found = without_each("shared")
    assert set(found[(found["low"] < 0) & (found["high"] > 0)].index) == {"boolq", "arc_challenge"}


@says("Holm over the nine comparisons there would leave no score decided")
def no_score_beside_the_verdict_is_decided_after_holm() -> None:
    verdicts = read("smollm2").tables["verdicts"]
    beside = verdicts[~verdicts["confirmatory"]]["p"].to_numpy()
    assert len(beside) == 9 and (holm(beside) > 0.05).all()


@says("and below the rates that are good for OLoRA too")
def the_shared_rate_is_below_oloras_good_rates() -> None:
    found = read("smollm2").tables["sensitivity"]
    assert found[(found["arm"] == "olora") & found["longest"]]["good_low"].item() > 3e-4


@says("No benchmark alone is decided there after correction either")
def no_benchmark_is_decided_at_the_shared_rate_after_holm() -> None:
    p = benchmarks("shared")["p"].to_numpy()
    assert len(p) == 6 and (holm(p) > 0.05).all()


# Speed.


@says("By loss, at rates of their own, OLoRA is the slower one: its 32 steps are worth 16 of LoRA's, and fewer than 21")
def oloras_steps_are_worth_fewer() -> None:
    answer = read("smollm2").tables["claims"].set_index("claim").loc["faster_convergence"]
    assert answer["verdict"] == "not supported" and "32 are worth 16, 0.51x (below 0.64x)" in answer["figure"]
    assert 32 * 0.64 < 21


@says("Neither a quarter, nor half, nor all of the steps take it to LoRA's loss")
def no_schedule_reaches_loras_loss() -> None:
    worth = against_lora("tuned", "equivalent_steps").set_index("steps")
    lengths = {steps: 64 / steps for steps in (16, 32, 64)}
    assert set(worth.index) == set(lengths) and all(worth.loc[steps, "high"] < ratio for steps, ratio in lengths.items())


@says("Whether LoRA after half of them or OLoRA after all ends lower is unresolved")
def lora_after_half_against_olora_after_all() -> None:
    runs = read("smollm2").frames.runs
    runs = runs[has_role(runs, "tuned") & ~has_role(runs, "tuning")]
    losses = runs.pivot_table(index="seed", columns=["arm", "length"], values="metrics.report_loss")
    gap = losses["lora", 32.0] - losses["olora", 64.0]
    interval = scipy.stats.ttest_1samp(gap, 0).confidence_interval()
    assert len(gap) == 6 and interval.low < 0 < interval.high


# The rates.


@says("equally many tries an arm")
def equally_many_tries() -> None:
    assert rates()[rates()["searched"]].groupby("arm").size().nunique() == 1


@says("for either arm a neighbouring rate was nearly as good there")
def a_neighbouring_rate_was_nearly_as_good() -> None:
    lora, best = searched_by_lora()
    assert lora["tune"][best - 1] - lora["tune"][best] < 0.01
    olora = rates()[(rates()["arm"] == "olora") & rates()["searched"]].sort_values("tune")["tune"].to_list()
    assert olora[1] - olora[0] < 0.01


@says("LoRA's next lower rate was better on the held-out examples, by three times what the two arms differ")
def the_next_lower_rate_was_better_on_held_out_examples() -> None:
    lora, best = searched_by_lora()
    assert lora["report_loss"][best - 1] < lora["report_loss"][best]
    runs = read("smollm2").frames.runs
    losses = with_role(runs[(runs["arm"] == "lora") & runs["longest"]], "tuning").set_index("lr")["metrics.report_loss"]
    assert losses[lora["lr"][best]] - losses[lora["lr"][best - 1]] > 3 * overall("tuned")["loss_difference"]


@says("A loss is of one run of the search, a score of six reported runs.")
def what_a_mark_of_the_rates_is_of() -> None:
    drawn = read("smollm2").tables["rates"]
    assert set(drawn["n_tune"]) == {1} and set(drawn["n_score"][drawn["score"].notna()]) == {6}


# The control and OLoRA+.


@says("with what of W lies along it as A, the score is unresolved at either rate")
def unresolved_against_the_control() -> None:
    for role in ("tuned", "shared"):
        control = against_olora("olora_random", role)
        assert control["verdict"] == "unresolved" and control["blocks"] == 6, role


@says(
    "what the control starts from is half as large a share of W's squared norm, in the mean over layers, and its gradient is clipped less "
    "often"
)
def what_else_the_control_differs_in() -> None:
    anatomy = read("smollm2").tables["anatomy"]
    started = anatomy.query("stage == 'start' and fact == 'energy_share' and setting == 'steps 64'").groupby("arm")["mean"].mean()
    assert started["olora_random"] / started["olora"] == pytest.approx(0.5, abs=0.01)
    clipped = with_role(read("smollm2").tables["run_measures"], "shared", "tuned").groupby("arm")["clipped_step_share"]
    assert clipped.max()["olora_random"] < clipped.min()["olora"] == 1


@says("the control ends at the lower loss; at the shared rate OLoRA does")
def the_controls_loss() -> None:
    assert against_olora("olora_random", "tuned")["loss_high"] < 0 < against_olora("olora_random", "shared")["loss_low"]


@says("OLoRA+ against OLoRA, each at its own rate: unresolved in score at either ratio")
def unresolved_at_either_ratio() -> None:
    for arm in ("olora_plus_x0.25", "olora_plus_x4"):
        ratio = against_olora(arm, "tuned")
        assert ratio["verdict"] == "unresolved" and ratio["blocks"] == 6


@says("In loss the ratio 1/4 is better than OLoRA, the ratio 4 worse")
def losses_of_the_ratios() -> None:
    assert against_olora("olora_plus_x0.25", "tuned")["loss_high"] < 0 < against_olora("olora_plus_x4", "tuned")["loss_low"]


@says("at the shared rate it is the other way round, and the ratio 1/4 scores lower")
def ratios_at_the_shared_rate() -> None:
    quarter = against_olora("olora_plus_x0.25", "shared")
    assert against_olora("olora_plus_x4", "shared")["loss_high"] < 0 < quarter["loss_low"]
    assert quarter["verdict"] == "worse"


@says("OLoRA's gradient is clipped at every step at either rate, LoRA's seldom")
def who_is_clipped() -> None:
    clipped = with_role(read("smollm2").tables["run_measures"], "shared", "tuned").groupby("arm")["clipped_step_share"]
    assert clipped.min()["olora"] == 1 and clipped.mean()["lora"] < 0.2


@says("At either rate, the number of benchmarks that OLoRA wins is one that two equal arms would also give")
def wins_of_equal_arms() -> None:
    for role in ("tuned", "shared"):
        counts = against_lora(role, "win_counts").iloc[0]
        assert counts["null_low"] <= counts["wins"] <= counts["null_high"], role


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_page_makes_the_claim_and_the_records_show_it(claim: str) -> None:
    CLAIMS.hold(claim)
