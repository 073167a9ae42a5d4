"""What is said of an outcome: one sentence a verdict, the same wherever it stands."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.outcome import Effect, Outcome, Verdict
from olora_bench.analysis.reasons import JudgedByLoss, PairsMissing, RunsDiffer, SearchesOpen, TooFewBlocks
from olora_bench.words import verdicts as words

NAN = math.nan
NOTHING = Effect(NAN, NAN, NAN, NAN, NAN, 0)
SCORE = Effect(0.648, 0.056, 1.889, 0.98, 0.031, 6)
LOSS = Effect(0.0322, 0.0052, 0.0752, 0.0377, 0.031, 6)
OUTCOME = Outcome(
    Comparison("olora", "lora", "primary", "tuned", confirmatory=True, lr=None), Verdict.BETTER, (), by_loss=False, score=SCORE,
    loss=LOSS, p=0.031, blocks_for=6, pairs_planned=6, pairs_missing=0, diverged=0, runs="",
)  # fmt: skip
BY_LOSS = replace(OUTCOME, by_loss=True, verdict=Verdict.WORSE, score=NOTHING, reasons=(JudgedByLoss(),), blocks_for=0)
NO_LEVELS = pd.DataFrame({"measure": []})

HEADLINES = {
    "better by score": (
        OUTCOME,
        "olora scores higher than lora, by 0.6 percentage points on average over benchmarks (95% interval +0.1 to +1.9; 6 blocks of model "
        "and seed).",
    ),
    "worse by score": (
        replace(OUTCOME, verdict=Verdict.WORSE, score=replace(SCORE, difference=-0.8, low=-1.5, high=-0.04)),
        "olora scores lower than lora, by 0.8 percentage points on average over benchmarks (95% interval −1.5 to 0.0; 6 blocks of model "
        "and seed).",
    ),
    "better by loss": (
        replace(BY_LOSS, verdict=Verdict.BETTER, loss=replace(LOSS, difference=-0.0322, low=-0.0752, high=-0.0052)),
        "olora ends at a lower loss than lora, by 0.032 nats of held-out loss (95% interval −0.075 to −0.005; 6 blocks of model and "
        "seed). By held-out loss: no benchmark is asked.",
    ),
    "worse by loss": (
        BY_LOSS,
        "olora ends at a higher loss than lora, by 0.032 nats of held-out loss (95% interval +0.005 to +0.075; 6 blocks of model and "
        "seed). By held-out loss: no benchmark is asked.",
    ),
    "better, and something to know": (
        replace(OUTCOME, reasons=(RunsDiffer("torch", ("2.12", "2.13")), RunsDiffer("harness", ("a", "b")))),
        "olora scores higher than lora, by 0.6 percentage points on average over benchmarks (95% interval +0.1 to +1.9; 6 blocks of model "
        "and seed). Runs differ in torch and harness.",
    ),
    "unresolved": (
        replace(OUTCOME, verdict=Verdict.UNRESOLVED, reasons=(PairsMissing(1, 7),)),
        "Unresolved: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval +0.1 to +1.9; 6 blocks of "
        "model and seed). 1 of 7 pairs missing.",
    ),
    "no verdict": (
        replace(OUTCOME, verdict=Verdict.NONE, reasons=(SearchesOpen(1),)),
        "No verdict: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval +0.1 to +1.9; 6 blocks of "
        "model and seed). 1 learning-rate search open or at an edge.",
    ),
    "too few runs": (
        replace(OUTCOME, verdict=Verdict.TOO_FEW_RUNS, score=Effect(0.6, NAN, NAN, NAN, NAN, 1), reasons=(TooFewBlocks(1, 6),)),
        "Not enough runs for a verdict: olora is at +0.6 percentage points on average over benchmarks against lora, but 1 block of model "
        "and seed cannot decide; 6 can.",
    ),
    "nothing known": (
        replace(OUTCOME, verdict=Verdict.TOO_FEW_RUNS, score=NOTHING, reasons=(PairsMissing(6, 6), TooFewBlocks(0, 6))),
        "No verdict yet on olora against lora: 6 of 6 pairs missing, 0 of at least 6 blocks (model, seed).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADLINES)
def test_each_verdict_has_its_sentence(name: str) -> None:
    outcome, sentence = HEADLINES[name]
    assert words.headline(outcome) == sentence


def test_every_verdict_is_among_the_sentences() -> None:
    assert {outcome.verdict for outcome, _ in HEADLINES.values()} == set(Verdict)


def test_facts_say_blocks_test_pairs_what_could_be_found_and_the_loss() -> None:
    assert words.facts(OUTCOME, NO_LEVELS) == [
        "6 of 6 blocks for olora",
        "exact sign-flip test over blocks, Holm p = 0.031",
        "6 pairs of runs planned, all done",
        "smallest difference that these blocks would find with 80% power: 1.0 pp",
        "held-out loss: +0.032 nats per token, 95% interval +0.005 to +0.075, p = 0.031",
    ]


def test_facts_give_both_losses_where_they_were_measured() -> None:
    levels = pd.DataFrame({"measure": ["report_loss", "spikes"], "value_reference": [3.372, 1.0], "value_arm": [3.405, 2.0]})
    assert words.facts(OUTCOME, levels)[-1] == (
        "held-out loss: lora 3.372, olora 3.405 (+0.032 nats per token, 95% interval +0.005 to +0.075, p = 0.031)"
    )
    assert words.facts(BY_LOSS, levels)[-1] == "held-out loss: lora 3.372, olora 3.405", "its difference is the headline's"


def test_a_secondary_comparison_has_its_own_p_and_gaps_are_counted() -> None:
    beside = replace(OUTCOME, comparison=replace(OUTCOME.comparison, confirmatory=False), pairs_planned=9, pairs_missing=2, diverged=1)
    facts = words.facts(beside, NO_LEVELS)
    assert facts[1:3] == ["exact sign-flip test over blocks, p = 0.031", "9 pairs of runs planned, 2 missing, 1 diverged"]


def test_one_loss_and_one_tie_are_singular() -> None:
    row = {"arm": "olora", "wins": 2, "losses": 1, "ties": 1, "cells": 4, "null_low": 1, "null_high": 3}
    assert words.count(row) == (
        "olora has the higher mean in 2 of 4 cells (1 loss, 1 tie): inside the 1 to 3 wins that these runs would give 95% of the time, "
        "were the arms the same."
    )


def test_an_overview_counts_verdicts_in_their_order() -> None:
    shown = [replace(OUTCOME, verdict=one) for one in (Verdict.NONE, Verdict.UNRESOLVED, Verdict.BETTER, Verdict.UNRESOLVED)]
    assert words.overview(shown) == "4 comparisons carry a verdict: 1 better, 2 unresolved, 1 no verdict."
    assert words.overview([]) == "This study declares no comparison that carries a verdict."
