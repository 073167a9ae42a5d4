"""What README.md and docs/results.md say of the study `ratios`, held to its records."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
import scipy.stats

from olora_bench.analysis.rates import ratio_points
from olora_bench.figures.book import _profile
from olora_bench.study.open import find_and_open
from olora_bench.study.schema import Study
from tests.committed_results import core_hours, corrected_interval, read, records
from tests.page_claims import PAGE, README

BELOW, ABOVE = ("olora_plus_x0.0625", "olora_plus_x0.25"), ("olora_plus_x4", "olora_plus_x16")
RATIOS = (*BELOW, *ABOVE)
PLACES = ["-2", "-1", "0", "+1", "+2"]


def verdict(contrast: str) -> pd.Series:
    return read("ratios").tables["verdicts"].set_index("contrast").loc[contrast]


def against_olora(arm: str) -> pd.Series:
    return verdict(f"{arm} vs olora")


def runs(role: str = "") -> pd.DataFrame:
    found = read("ratios").frames.runs
    return found[found["roles"].str.contains(role)]


def of_why() -> set[str]:
    return set(runs()["train_id"]) & set(read("why").frames.runs["train_id"])


def kept(column: str, arm: str) -> float:
    """The mean of a column over the runs that an arm's blocks kept."""
    found = runs("tuned")
    return float(found.loc[found["arm"] == arm, column].mean())


def travelled(side: str, arm: str) -> float:
    return kept(f"init.anatomy.travelled.{side}.mean", arm)


def clipped() -> set[float]:
    """The shares of clipped steps of OLoRA's and OLoRA+'s kept runs."""
    ids = set(runs("tuned").query("arm != 'lora'")["train_id"])
    return {one["clipped_step_share"] for one in records("ratios") if one["train_id"] in ids}


def corrected_for_four(arm: str) -> tuple[float, float]:
    return corrected_interval("ratios", f"{arm} vs olora", 4)


def is_decided(arm: str, side: str) -> bool:
    """At the first look, over new seeds and new examples, corrected for four, with every block on that side."""
    said = against_olora(arm)
    blocks = "blocks_for" if side == "better" else "blocks_against"
    at_look = said["confirmatory"] and said["look"] == 1 and said["loss_blocks"] == said[blocks] == 6
    return bool(at_look and said["verdict"] == side and said["holm_over"] == 4 and said["loss_new_items"] and said["p_holm"] <= 0.05)


def losses() -> list[float]:
    """By ratio, ratio 1 in the middle."""
    return [kept("metrics.report_loss", arm) for arm in (*BELOW, "olora", *ABOVE)]


def shown(contrast: str, end: str, *, below: bool) -> list[str]:
    """At which places held fixed an end of the interval lies below 0, or above it."""
    table = read("ratios").tables["finalists"].set_index("contrast").loc[contrast].set_index("place")
    ends = table.drop(index="kept")[end]
    return list(ends.index[ends < 0] if below else ends.index[ends > 0])


def lower_at(arm: str) -> list[str]:
    return shown(f"{arm} vs olora", "loss_high", below=True)


def higher_at(arm: str) -> list[str]:
    return shown(f"{arm} vs olora", "loss_low", below=False)


def by_rate(arm: str) -> pd.Series:
    """An arm's held-out loss by rate, from the lowest place on, mean over the blocks."""
    return runs("finalist").query("arm == @arm").groupby("lr")["metrics.report_loss"].mean()


def best_in_the_mean() -> list[float]:
    """By ratio, ratio 1 in the middle."""
    return [float(by_rate(arm).min()) for arm in (*BELOW, "olora", *ABOVE)]


def further(side: str) -> list[float]:
    """How far A or B came in what blocks kept, in OLoRA's, from the lowest ratio on."""
    return [travelled(side, arm) / travelled(side, "olora") for arm in RATIOS]


def four_and_sixteen() -> float:
    """p of their difference, a paired t over the blocks."""
    losses = runs("tuned").set_index(["arm", "seed"])["metrics.report_loss"]
    return float(scipy.stats.ttest_rel(losses[ABOVE[1]].sort_index(), losses[ABOVE[0]].sort_index()).pvalue)


def loss_of_search(arm: str) -> pd.Series:
    """The tuning loss of an arm's search, by rate."""
    return runs("tuning").query("arm == @arm").set_index("lr")["metrics.tune_loss"]


def earlier(study: str, arm: str) -> pd.Series:
    """What the study says of an arm against OLoRA, each at its own rate."""
    return read(study).tables["verdicts"].query("role == 'tuned'").set_index("contrast").loc[f"{arm} vs olora"]


def declared() -> Study:
    return find_and_open("ratios").file.study


def verdict_of(claim: str) -> str:
    return str(read("ratios").tables["claims"].set_index("claim").loc[claim, "verdict"])


CLAIMS: dict[str, Callable[[], bool]] = {
    "each ratio is an arm with a search of its own, with one tuning seed, over A's rate": lambda: (
        runs("tuning")["seed"].nunique() == 1 and set(runs("tuning")["arm"]) == {"lora", "olora", *RATIOS}
    ),
    "Length, data, margin and the first six seeds are those of `why`, whose runs of LoRA and OLoRA in blocks this study shares": lambda: (
        {one["steps"] for one in records("ratios")} == {16}
        and len({str(one["config"]["data"] | {"block": None}) for study in ("ratios", "why") for one in records(study)}) == 1
        and read("ratios").frames.margin == read("why").frames.margin
        and set(runs("tuned")["seed"]) == set(sorted(set(read("why").frames.runs["seed"]) - {0})[:6])
        and set(runs("finalist").query("arm in ('lora', 'olora')")["train_id"]) <= of_why()
        and set(runs()[runs()["train_id"].isin(of_why())]["arm"]) == {"lora", "olora"}
    ),
    "that by loss 1/4 ends lower than OLoRA and 4 higher": lambda: all(
        earlier(study, BELOW[1])["loss_high"] < 0 < earlier(study, ABOVE[0])["loss_low"] for study in ("smollm2", "smollm2_alpaca")
    ),
    "One more extension of all arms followed, which was best for none.": lambda: all(
        loss_of_search(arm).idxmin() > loss_of_search(arm).index.min() == 3.16e-5 for arm in ("lora", "olora", *RATIOS)
    ),
    "Each block chooses among five neighbouring rates, and is judged by the held-out loss of 256 examples.": lambda: (
        set(runs("finalist").groupby(["arm", "seed"]).size()) == {5}
        and {one["data"]["report"]["examples"] for one in records("ratios") if "report" in one["data"]} == {256}
    ),
    "Both ratios below 1 end at a lower loss than OLoRA, and both above 1 at a higher one, over new seeds and new examples, in each of six "
    "blocks. The first look of three decided all four.": lambda: (
        all(is_decided(arm, "better") for arm in BELOW)
        and all(is_decided(arm, "worse") for arm in ABOVE)
        and declared().seeds is not None
        and len(declared().seeds.looks) == 3
    ),
    "the means of 4 and 16 lie within noise of each other": lambda: four_and_sixteen() > 0.05,
    "At 1/16 the difference is beyond the margin, also by the interval of one look at a quarter of the level. At 1/4 the interval of "
    "the verdict, which is not corrected for four, lies beyond it by a hair. At 4 and 16 that it is more than the margin is not "
    "shown.": lambda: (
        {against_olora(arm)["margin"] for arm in RATIOS} == {0.02}
        and max(against_olora(BELOW[0])["loss_high"], corrected_for_four(BELOW[0])[1]) < -0.02
        and -0.0225 < against_olora(BELOW[1])["loss_high"] < -0.02 < corrected_for_four(BELOW[1])[1]
        and all(against_olora(arm)["loss_low"] < 0.02 for arm in ABOVE)
    ),
    "No ratio is shown to be better than LoRA. Beside the verdict, not corrected, the ratio 1/16 is not told apart from LoRA, whose mean "
    "is the lower, and the ratio 1/4 ends higher than LoRA. The ratios 4 and 16 were not compared with it, and their means are higher "
    "still.": lambda: (
        verdict("olora_plus_x0.0625 vs lora")["loss_low"] < 0 < verdict("olora_plus_x0.0625 vs lora")["loss_difference"]
        and verdict("olora_plus_x0.25 vs lora")["loss_low"] > 0
        and kept("metrics.report_loss", "lora") < losses()[0]
        and losses() == sorted(losses())
    ),
    "With a place held fixed, the ratios below 1 end lower at the three lower ones, and at the two highest nothing is shown. The ratio 16 "
    "ends higher at the three lower ones, and at the two highest nothing is shown. The ratio 4 ends higher at the two lowest, nothing is "
    "shown in the middle, and at the two highest it ends lower than OLoRA.": lambda: (
        all(lower_at(arm) == PLACES[:3] and higher_at(arm) == [] for arm in BELOW)
        and (higher_at("olora_plus_x16"), lower_at("olora_plus_x16")) == (PLACES[:3], [])
        and (higher_at("olora_plus_x4"), lower_at("olora_plus_x4")) == (PLACES[:2], PLACES[3:])
    ),
    "OLoRA's two highest rates are too high for it, and the lowest of the ratio 4 is too low.": lambda: (
        bool((by_rate("olora").iloc[-2:] > by_rate("olora").min() + 0.02).all())
        and by_rate(ABOVE[0]).iloc[0] > by_rate(ABOVE[0]).min() + 0.02
    ),
    "With each arm at the one of its five rates that is best in the mean, which these losses picked, the order of the five is the "
    "same.": lambda: best_in_the_mean() == sorted(best_in_the_mean()),
    "A comes the further the lower the ratio: at 1/16 about five times as far as OLoRA's, at 16 a fifteenth. B comes four fifths as far as "
    "OLoRA's to just as far, but at 1/16, where it comes a third as far.": lambda: (
        further("a") == sorted(further("a"), reverse=True)
        and 4.7 < further("a")[0] < 5.3
        and 1 / 17 < further("a")[-1] < 1 / 14
        and all(0.78 < one < 1.03 for one in further("b")[1:])
        and 0.3 < further("b")[0] < 0.36
    ),
    "Every step of what blocks kept of OLoRA and OLoRA+ is clipped, and few of LoRA's. No run here is without clipping": lambda: (
        clipped() == {1.0}
        and kept("clipped_step_share", "lora") < 0.1
        and {one["config"]["recipe"]["max_grad_norm"] for one in records("ratios")} == {1.0}
    ),
    "Of the claims of OLoRA+ two are not tested here: that it is better in written answers too, as none was asked, and that both sides of "
    "1 work, as no loss was read before training. That ratios trade loss against distance is unresolved": lambda: (
        verdict_of("olora_plus_better") == verdict_of("ratios_both_sides") == "not tested here"
        and verdict_of("refinement_against_exploration") == "unresolved"
    ),
    "155 runs of its own, just over a hundred minutes of a CPU core beside other work; with the 72 of `why` they are 227, on processors of "
    "one name, from three commits. Of the 227, 47 are of searches, 12 of these `why`'s.": lambda: (
        (len(records("ratios")), len(of_why())) == (227, 72)
        and 100 / 60 < core_hours("ratios", leave_out=of_why()) < 107 / 60
        and (len(runs("tuning")), len(set(runs("tuning")["train_id"]) & of_why())) == (47, 12)
        and {one["provenance"]["hardware"]["processor"] for one in records("ratios")} == {"AMD EPYC"}
        and len({one["provenance"]["harness"]["commit"] for one in records("ratios")}) == 3
    ),
}


@pytest.mark.parametrize("words", CLAIMS)
def test_the_page_makes_the_claim_and_the_records_show_it(words: str) -> None:
    assert words in PAGE, f"docs/results.md no longer says {words!r}: give its new words here, or remove the claim"
    assert CLAIMS[words]()


def test_readme_says_what_is_decided_and_what_is_not() -> None:
    said = (
        "with clipping: with B's learning rate a quarter or a sixteenth of A's the loss ends lower than OLoRA's, with one four or sixteen "
        "times A's higher, over new seeds and new examples, each ratio with a search of its own (one tuning seed, Holm over four). At the "
        "two highest of five rates held fixed that is not shown, and for four times it is reversed. Beside it, not corrected, a sixteenth "
        "is not told apart from LoRA, and a quarter ends higher than LoRA."
    )
    assert said in README and runs("tuning")["seed"].nunique() == 1 and clipped() == {1.0}
    assert all(is_decided(arm, "better") for arm in BELOW) and all(is_decided(arm, "worse") for arm in ABOVE)
    assert all(not set(PLACES[3:]) & set(lower_at(arm)) for arm in BELOW) and lower_at(ABOVE[0]) == PLACES[3:]
    assert not set(PLACES[3:]) & set(higher_at(ABOVE[1]))
    assert verdict(f"{BELOW[0]} vs lora")["loss_low"] < 0 < verdict(f"{BELOW[0]} vs lora")["loss_high"]
    assert verdict(f"{BELOW[1]} vs lora")["loss_low"] > 0


def test_a_ratio_stands_beside_the_arm_that_starts_as_it_does() -> None:
    """Two of the ratios are compared with LoRA too, which starts otherwise."""
    found = read("ratios")
    for table in ("ratios", "rates"):
        points = ratio_points(found.frames, found.tables[table])
        assert set(points["family"]) == {"olora"} and set(points["arm"]) == {"olora", *RATIOS}


def test_the_profile_of_ratios_is_of_every_block_at_whichever_rate_it_kept() -> None:
    found = read("ratios")
    drawn = _profile(ratio_points(found.frames, found.tables["ratios"])).set_index(["measure", "arm"])["value"]
    for arm in ("olora", *RATIOS):
        assert drawn["Held-out loss (nats)", arm] == pytest.approx(kept("metrics.report_loss", arm), abs=1e-12)
        assert drawn["B travels (norm)", arm] == pytest.approx(travelled("b", arm), abs=1e-12)


def test_runs_that_score_nothing_do_not_differ_in_how_they_would_have_been_scored() -> None:
    assert set(runs()["train_token_budget"]) == {2048} and runs()["eval_token_budget"].isna().all()
