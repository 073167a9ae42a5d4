"""What README.md and docs/results.md say of the study `why`, held to its records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.committed_results import core_hours, corrected_interval, read, records
from tests.page_claims import PAGE, README

CONTROLS = ("lora_matched", "olora_permuted", "olora_pivoted", "olora_added", "olora_random", "orthogonal")


def verdicts() -> pd.DataFrame:
    return read("why").tables["verdicts"].set_index("contrast")


def against_olora(arm: str) -> pd.Series:
    return verdicts().loc[f"{arm} vs olora"]


def starts() -> pd.DataFrame:
    """Each arm's start, by arm."""
    return read("why").tables["starts"].set_index("arm")


def runs() -> pd.DataFrame:
    return read("why").frames.runs


def made() -> list[dict[str, Any]]:
    """The records of all its runs that are done."""
    return records("why")


def kept() -> pd.DataFrame:
    """The runs that blocks kept."""
    return runs()[runs()["roles"].str.contains("tuned")]


def fixed(contrast: str) -> pd.DataFrame:
    """A row a place held fixed, -2 to +2 from the search's best."""
    table = read("why").tables["finalists"].set_index("contrast").loc[contrast].set_index("place")
    return table.drop(index="kept")


def is_lower_beyond_the_margin(arm: str) -> bool:
    """Over new seeds and new examples, as the verdict of the study, corrected for six."""
    said = against_olora(arm)
    is_verdict = said["confirmatory"] and said["verdict"] == "better" and said["judged_by"] == "report_loss" and said["holm_over"] == 6
    return bool(is_verdict and said["loss_new_items"] and said["loss_high"] < -said["margin"] == -0.02)


def corrected_for_six(arm: str) -> tuple[float, float]:
    return corrected_interval("why", f"{arm} vs olora", 6)


def fact(arm: str, name: str) -> float:
    """A fact of an arm's start, mean over layers and its kept runs."""
    ids = set(kept().loc[kept()["arm"] == arm, "train_id"])
    return float(pd.Series([one["init"]["anatomy"]["start"][name]["mean"] for one in made() if one["train_id"] in ids]).mean())


def norms(arm: str, name: str = "a_norm") -> float:
    """The norm of its A, or B, as a share of that of OLoRA's."""
    return fact(arm, name) / fact("olora", name)


def energy(arm: str) -> float:
    """The squared norm of what it starts from, as a share of W's."""
    return fact(arm, "energy_share")


def searched() -> pd.DataFrame:
    return runs()[runs()["roles"].str.contains("tuning")]


def places(contrast: str, end: str, *, below: bool = False) -> list[str]:
    """At which places held fixed an end of the interval lies above 0, or below it."""
    ends = fixed(contrast)[end]
    return list(ends.index[ends < 0] if below else ends.index[ends > 0])


def fixed_losses(arm: str) -> pd.Series:
    """Held-out loss by an arm's rates, from the lowest on, mean over blocks."""
    ids = runs()[(runs()["arm"] == arm) & runs()["roles"].str.contains("finalist")]
    return ids.groupby("lr")["metrics.report_loss"].mean()


def clipped(arm: str) -> pd.Series:
    """The share of clipped steps of what its blocks kept."""
    ids = set(kept().loc[kept()["arm"] == arm, "train_id"])
    return pd.Series([one["clipped_step_share"] for one in made() if one["train_id"] in ids])


def unresolved_at_the_end(arm: str) -> bool:
    """Neither different nor equivalent in all twelve seeds of the last look."""
    said = against_olora(arm)
    ended = said["loss_blocks"] == said["look_seeds"] == 12 and said["look"] == 3
    return bool(ended and said["verdict"] == "unresolved" and min(said["p_holm"], said["p_inside_holm"]) > 0.05)


PLACES = ("-2", "-1", "0", "+1", "+2")
CLAIMS: dict[str, Callable[[], bool]] = {
    "Eight arms train for 16 steps, a quarter of the headline's schedule, which two cores can pay for, with the usual clipping;": lambda: (
        {one["steps"] for one in made()} == {16}
        and {one["steps"] for one in records("headline")} == {64}
        and {one["config"]["recipe"]["max_grad_norm"] for one in made() + records("headline")} == {1.0}
        and len(starts()) == 8
    ),
    "Each arm is searched once, by the tuning loss of 64 examples and with one tuning seed (`lora_matched`, `olora_random` and "
    "`orthogonal` with five runs, the other five arms with six), and gives each block five neighbouring rates to choose from.": lambda: (
        {one["data"]["tune"]["examples"] for one in made()} == {64}
        and searched()["seed"].nunique() == 1
        and dict(searched().groupby("arm").size())
        == dict.fromkeys(starts().index, 6) | dict.fromkeys(["lora_matched", "olora_random", "orthogonal"], 5)
        and set(runs()[runs()["roles"].str.contains("finalist")].groupby(["arm", "seed"]).size()) == {5}
    ),
    "Six arms are compared with OLoRA, by the held-out loss of 256 examples, Holm over six; LoRA stands beside them.": lambda: (
        {one["data"]["report"]["examples"] for one in made() if "report" in one["data"]} == {256}
        and set(verdicts()[verdicts()["confirmatory"]]["arm"]) == set(CONTROLS)
        and set(verdicts()[~verdicts()["confirmatory"]]["reference"]) == {"lora"}
    ),
    "From a random orthonormal B the loss ends lower than OLoRA's, over new seeds and new examples, by more than the margin": lambda: (
        is_lower_beyond_the_margin("olora_random")
        and corrected_for_six("olora_random")[1] < -0.02
        and starts().loc["olora_random", "b_off_orthonormal"] < 1e-6
    ),
    "what this arm starts from is half as large a share of W's squared norm, in the mean over layers, and fewer of its steps are clipped. "
    "It ends lower at all five places.": lambda: (
        0.4 < energy("olora_random") / energy("olora") < 0.6
        and clipped("olora_random").mean() < 0.95 < clipped("olora").min()
        and places("olora_random vs olora", "loss_high", below=True) == list(PLACES)
    ),
    "LoRA's own start, stretched to the norm of OLoRA's A, ends lower than OLoRA (`lora_matched`). Its own interval, not corrected for "
    "six, lies beyond the margin.": lambda: (
        is_lower_beyond_the_margin("lora_matched")
        and corrected_for_six("lora_matched")[1] > -0.02
        and norms("lora_matched") == pytest.approx(1, abs=1e-5)
    ),
    "Both arms are clipped at every step, and no run here is without clipping": lambda: (
        clipped("olora").eq(1).all() and clipped("lora_matched").eq(1).all()
    ),
    "At the lowest place it is not shown, and its mean is higher. Beside the verdict, not corrected, it ends higher than LoRA.": lambda: (
        places("lora_matched vs olora", "loss_high", below=True) == list(PLACES[1:])
        and fixed("lora_matched vs olora").loc["-2", "loss_difference"] > 0
        and verdicts().loc["lora_matched vs lora", "loss_low"] > 0
    ),
    "PEFT's `orthogonal`, in which neither A nor B comes from W, ends lower than OLoRA. Its own interval, not corrected for six, lies "
    "beyond the margin. Its A has a quarter of the norm of OLoRA's, its B is longer and not orthonormal, and half of its steps are "
    "clipped. At the highest place it is not shown.": lambda: (
        is_lower_beyond_the_margin("orthogonal")
        and 0.2 < norms("orthogonal") < 0.27
        and norms("orthogonal", "b_norm") > 1
        and starts().loc["orthogonal", "b_off_orthonormal"] > 1.5
        and 0.45 < clipped("orthogonal").mean() < 0.55
        and places("orthogonal vs olora", "loss_high", below=True) == list(PLACES[:-1])
    ),
    "Which columns of W span the start: unresolved after the last look, neither shown to differ nor to be equivalent in twelve "
    "seeds": lambda: (
        unresolved_at_the_end("olora_permuted") and unresolved_at_the_end("olora_pivoted") and runs()["state"].eq("done").all()
    ),
    "The interval of `olora_pivoted` lies inside the margin, but is not corrected for six.": lambda: (
        -0.02 < against_olora("olora_pivoted")["loss_low"] < against_olora("olora_pivoted")["loss_high"] < 0.02
        and against_olora("olora_permuted")["loss_high"] > 0.02
        and corrected_for_six("olora_pivoted")[1] > 0.02
    ),
    "At the lowest place both end higher than OLoRA, at the three highest `olora_pivoted` ends lower.": lambda: (
        places("olora_permuted vs olora", "loss_low") == places("olora_pivoted vs olora", "loss_low") == ["-2"]
        and places("olora_pivoted vs olora", "loss_high", below=True) == ["0", "+1", "+2"]
        and places("olora_permuted vs olora", "loss_high", below=True) == []
    ),
    "With the start added and nothing subtracted from W the loss ends higher than OLoRA's, by more than the margin": lambda: (
        against_olora("olora_added")["verdict"] == "worse"
        and against_olora("olora_added")["loss_low"] > 0.02 < corrected_for_six("olora_added")[0]
    ),
    "The first batch's loss is above the untouched model's there; 16 steps may be too few to make up for that. At the highest place it is "
    "not shown.": lambda: (
        starts().loc["olora_added", "first_loss_jump"] > 0.4 and places("olora_added vs olora", "loss_low") == list(PLACES[:-1])
    ),
    "LoRA has the lowest mean of the eight. Beside the verdict, not corrected, it ends lower than OLoRA by more than the margin, in each "
    "of six blocks. At the two highest places that is not shown: LoRA's rates are far too high for it there.": lambda: (
        starts()["loss"].idxmin() == "lora"
        and verdicts().loc["olora vs lora", "loss_low"] > 0.02
        and verdicts().loc["olora vs lora", "blocks_against"] == verdicts().loc["olora vs lora", "loss_blocks"] == 6
        and places("olora vs lora", "loss_low") == list(PLACES[:-2])
        and fixed_losses("lora").iloc[-1] > fixed_losses("lora").min() + 0.5
    ),
    "The three arms with a much smaller A than OLoRA's end lower than OLoRA, but four arms with nearly one norm of A end far "
    "apart": lambda: (
        [arm for arm in starts().index if norms(arm) < 0.9 and starts().loc[arm, "high"] < 0] == ["olora_random", "orthogonal", "lora"]
        and {"olora", "lora_matched", "olora_permuted", "olora_added"} == {arm for arm in starts().index if 0.99 < norms(arm) < 1.01}
        and starts().loc["olora_added", "difference"] - starts().loc["lora_matched", "difference"] > 0.1
    ),
    "375 runs, just under five hours of a CPU core beside other work, from one commit. Of them 45 are searches.": lambda: (
        len(made()) == 375
        and 4.7 < core_hours("why") < 5
        and len({one["provenance"]["harness"]["commit"] for one in made()}) == 1
        and {one["provenance"]["hardware"]["processor"] for one in made()} == {"AMD EPYC"}
        and len(searched()) == 45
    ),
}


@pytest.mark.parametrize("words", CLAIMS)
def test_the_page_makes_the_claim_and_the_records_show_it(words: str) -> None:
    assert words in PAGE, f"docs/results.md no longer says {words!r}: give its new words here, or remove the claim"
    assert CLAIMS[words]()


def test_readme_says_what_is_decided() -> None:
    said = (
        "OLoRA ends at a higher loss than from a random orthonormal B, whose A is smaller, than LoRA's start stretched to the norm of "
        "OLoRA's A, and than PEFT's `orthogonal`; which columns of W it takes is unresolved."
    )
    assert said in README and norms("olora_random") < 0.7
    assert all(map(is_lower_beyond_the_margin, ("olora_random", "lora_matched", "orthogonal")))
    assert unresolved_at_the_end("olora_permuted") and unresolved_at_the_end("olora_pivoted")
