"""Claims and published tables: what is refused, and what a study says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.equivalent_steps import Worth
from olora_bench.config import claims_dir
from olora_bench.errors import BadInput
from olora_bench.report.published import beside_ours, read_claims, read_published
from olora_bench.study.names import Home
from olora_bench.study.report import analysed
from olora_bench.words.claims import figure

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
HEADER = "source,model,rank,arm,benchmark,metric,value,note\n"


NEVER = evidence.Divergences("olora", 0, 12, ())
GAP = evidence.MeanDifference("generalisation_gap", evidence.Estimated(0.003, -0.049, 0.055), "nats")


def no_interval(mean: float) -> evidence.Estimated:
    return evidence.Estimated(mean, np.nan, np.nan)


def test_every_shipped_claim_is_read_and_judged() -> None:
    claims = {claim.claim for claim in read_claims(claims_dir())}
    table = analysed(Home(SYNTHETIC, "planted")).tables["claims"].set_index("claim")
    assert set(table.index) == claims and len(claims) == 13
    assert table["verdict"].to_dict() == {
        "consistent_over_sizes": "supported",
        "faster_convergence": "supported",
        "generalises_better": "not supported",
        "more_stable": "not tested here",
        "most_gain_on_arc_and_openbookqa": "not tested here",
        "negligible_qr_cost": "supported",
        "olora_plus_better": "not tested here",
        "only_the_init_changes": "supported",
        "ratios_both_sides": "not tested here",
        "refinement_against_exploration": "not tested here",
        "same_parameters_and_memory": "supported",
        "well_conditioned_subspace": "not tested here",
        "wins_53_of_60": "unresolved",
    }
    assert "3 of 8 cells, 1 to 4 by chance (12 blocks, flipped whole; these items)" in table.loc["wins_53_of_60", "figure"]
    assert table.loc["faster_convergence", "runs"]


def test_an_inits_own_seconds_decide_and_not_those_of_its_phase() -> None:
    """Planted: 0.4 s of 100 more by itself; the phase, in which the adapter is measured too, takes 2 s more, which would refute."""
    table = analysed(Home(SYNTHETIC, "planted")).tables["claims"].set_index("claim")
    assert (
        "the init itself takes 0.40 s more than the reference's (95% interval +0.40 to +0.40), 0.40%"
        in table.loc["negligible_qr_cost", "figure"]
    )
    phase = analysed(Home(SYNTHETIC, "planted")).tables["measures"].query("measure == 'init_seconds'")
    assert phase[phase["contrast"] == "olora vs lora"]["difference"].unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a", "not a claim. Give paper, sentence, arm, reference, measurement, and options where the measurement takes any"),
        ("paper: p", "sentence, arm, reference, measurement: missing or no text. A claim has paper, sentence, arm, reference, measurement"),
        (
            "{paper: p, sentence: s, arm: a, reference: b, measurement: m, x: 1}",
            "unknown key x. Allowed: paper, sentence, arm, reference, measurement, options",
        ),
    ],
)
def test_a_bad_claim_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(BadInput) as caught:
        read_claims(tmp_path)
    assert str(caught.value) == f"{path}: {message}"


def test_an_unknown_measurement_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{paper: p, sentence: s, arm: a, reference: b, measurement: luck}")
    with pytest.raises(BadInput, match=r"measurement='luck' is unknown\. Allowed: faster, win_count"):
        read_claims(tmp_path)


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        ("measure", "options=None: give measures, a map of measures to lower or higher, whichever is better"),
        (
            "measure, options: {measures: {bleu: up}}",
            "options={'measures': {'bleu': 'up'}}: give measures, a map",
        ),
        ("most_gain_on, options: {benchmarks: piqa}", "options={'benchmarks': 'piqa'}: give benchmarks, a list of names"),
        ("win_count, options: {share: 0.9}", "options={'share': 0.9}: measurement=win_count takes none. Leave options out"),
        (
            "faster, options: {share: 0.9}",
            "options={'share': 0.9}: give factor, how many times as fast the paper says (2: half the steps), or no options",
        ),
    ],
)
def test_options_that_a_measurement_does_not_take_are_refused(tmp_path: Path, measurement: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{{paper: p, sentence: s, arm: a, reference: b, measurement: {measurement}}}")
    with pytest.raises(BadInput) as caught:
        read_claims(tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (evidence.TooFewModels(1), "1 model: two or more are needed"),
        (
            evidence.StepsWorth("lora", (evidence.Setting(Worth(20.0, 1.5, 1.25, 1.75, 0.01, 6), ()),), 2.0, new_examples=False),
            "in steps of lora that end at the same loss, 20 are worth 30, 1.50x (1.25 to 1.75). From separately completed schedules, "
            "over new seeds and these examples; the paper's factor is 2",
        ),
        (
            evidence.SpeedInside(
                0.9, (evidence.Speed(1.5, 1.2, 1.9, "exact"), evidence.Speed(2.0, np.nan, np.nan, "at least")), 1, 0, 1, 3.0
            ),
            "speed in steps to 90% of the reference's drop in loss, above 1 is sooner: 1.50x (1.20 to 1.90), at least 2.00x; 1 cell "
            "faster, 0 slower, 1 unresolved, Holm over the 2 cells; the paper's factor is 3. From curves inside one schedule: a hint, "
            "which decides nothing",
        ),
        (
            evidence.Stability((evidence.Divergences("lora", 1, 12, (3e-3,)), NEVER), 2, (0.5, 0.25), no_interval(-0.25), 3),
            "lora diverged in 1 of 12 runs (at lr 3e-3), olora diverged in 0 of 12 runs (2 learning rates that both tried; Fisher's test, "
            "uncorrected); spikes a run in the paired runs: lora 0.5, olora 0.2 (difference −0.2), Holm over the 3 cells",
        ),
        (
            evidence.Stability((evidence.Divergences("lora", 0, 9, ()), NEVER), 2, (5.5, 5.0), evidence.Estimated(-0.5, -0.9, -0.1), 1),
            "lora diverged in 0 of 9 runs, olora diverged in 0 of 12 runs (2 learning rates that both tried): no rate was high enough "
            "to tell; spikes a run in the paired runs: lora 5.5, olora 5.0 (difference −0.5, 95% interval −0.9 to −0.1), which "
            "decides nothing",
        ),
        (
            evidence.TradeOff((evidence.TradeAt("tuned", (("product", 2.0),), -0.25, 6),)),
            "ratios below 1 against those above: each at its own rate, distance of BA 2.00 times as far, loss −0.250 nats (6 blocks); "
            "sign flips over blocks, these examples, uncorrected. Not read at equal rates",
        ),
        (
            evidence.InitAlone(1, False, False, False),
            "by construction 1 pair differs in init alone; read from the runs: adapters differ in size",
        ),
        (
            evidence.InitCost(evidence.Estimated(0.25, 0.125, 0.375), evidence.Estimated(0.004, 0.002, 0.006), 0.01, 2),
            "the init itself takes 0.25 s more than the reference's (95% interval +0.12 to +0.38), 0.40% (95% interval 0.20% to 0.60%) of "
            "training in the cell where that is most, of 2; allowed: 1%",
        ),
        (
            evidence.InitCost(evidence.Estimated(-0.02, -0.6, 0.56), evidence.Estimated(-0.002, -0.06, 0.056), 0.01, 1),
            "the init itself takes 0.02 s less than the reference's (95% interval −0.60 to +0.56), −0.20% (95% interval −6.00% to 5.60%) "
            "of training; allowed: 1%, which an interval holds",
        ),
        (
            evidence.InitCost(no_interval(-0.06), no_interval(-0.001), 0.01, 1),
            "the init itself takes 0.06 s less than the reference's, −0.10% of training; allowed: 1%, and there is no interval",
        ),
        (
            evidence.SizeAndMemory(True, evidence.Estimated(1.04, 1.01, 1.07), 1.05, 1),
            "parameters equal; memory above the base 1.04 (95% interval 1.01 to 1.07) times the reference's; allowed: 1.05, which an "
            "interval holds",
        ),
        (
            evidence.Measured((evidence.ArmMeasures("olora", (GAP, evidence.MeanDifference("bleu", None, ""))),), 1),
            "generalisation_gap +0.003 nats (95% interval −0.049 to +0.055); bleu not measured, uncorrected",
        ),
    ],
)
def test_evidence_is_worded_with_its_numbers(basis: evidence.Evidence, said: str) -> None:
    assert figure(basis) == said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "source,model\n",
            ": missing column rank, arm, benchmark, metric, value, note. Columns: source, model, rank, arm, benchmark, metric, ",
        ),
        (HEADER + "s,m,32,lora,piqa,acc,101,\n", ", line 2: value='101': give a number from 0 to 100 (percent)"),
        (HEADER + "s,m,32,lora,piqa,acc,50,\ns,m,3.5,lora,piqa,acc,50,\n", ", line 3: rank='3.5': give a whole number of at least 1"),
        (HEADER + "s,m,32,lora,piqa,f1,50,\n", ", line 2: metric='f1': allowed are acc, acc_norm"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(BadInput) as caught:
        read_published(tmp_path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    """Six seeds of syn_a: piqa 50% for lora; a model that nobody ran here stays empty."""
    (tmp_path / "t.csv").write_text(HEADER + "made up,syn_a,8,lora,piqa,acc_norm,51.5,\nmade up,other,8,lora,piqa,acc_norm,60,\n")
    table = beside_ours(read_published(tmp_path), analysed(Home(SYNTHETIC, "planted")).frames)
    assert table["ours"].tolist()[0] == 50.0 and pd.isna(table["ours"][1])
    assert table["difference"].tolist()[0] == -1.5 and table["seeds"].tolist() == [6, 0]


def test_nothing_is_shipped_as_published() -> None:
    assert read_published(claims_dir().parent).empty
