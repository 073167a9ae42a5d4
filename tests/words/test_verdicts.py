"""What is said of an outcome: one sentence a verdict, the same wherever it stands."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import Scope
from olora_bench.analysis.outcome import Effect, Outcome, Verdict
from olora_bench.analysis.reasons import ErrorOverItems, GivenSearch, JudgedByLoss, PairsMissing, RunsDiffer, SearchesOpen, TooFewBlocks
from olora_bench.analysis.scopes import About
from olora_bench.words import verdicts as words

NAN = math.nan
NOTHING = Effect(NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, new_items=True)
SCORE = Effect(0.648, 0.056, 1.889, 0.031, 1.21, 0.94, 2.64, 6, new_items=True)
LOSS = Effect(0.0322, 0.0052, 0.0752, 0.031, 0.0377, 0.0236, 0.0926, 6, new_items=False)
OUTCOME = Outcome(
    Comparison("olora", "lora", "primary", "tuned", confirmatory=True, lr=None), Verdict.BETTER, (), by_loss=False, score=SCORE,
    loss=LOSS, p=0.031, holm_over=1, margin=NAN, scope=Scope.ONE_MODEL, blocks_for=6, pairs_planned=6, pairs_missing=0, diverged=0, runs="",
)  # fmt: skip
BY_LOSS = replace(OUTCOME, by_loss=True, verdict=Verdict.WORSE, score=NOTHING, reasons=(JudgedByLoss(),), blocks_for=0)
NO_LEVELS = pd.DataFrame({"measure": []})
SCOPES = pd.DataFrame(
    {"measure": "score", "about": [About.SEEDS_AND_ITEMS, About.ITEMS, About.FLIPS], "block_se": [0.28, NAN, NAN],
     "item_se": [0.352, 0.477, NAN], "low": [-0.35, -0.29, NAN], "high": [1.65, 1.58, NAN], "p": [0.177, 0.17, 0.031]}
)  # fmt: skip

HEADLINES = {
    "better by score": (
        OUTCOME,
        "olora scores higher than lora, by 0.6 percentage points on average over benchmarks (95% interval +0.1 to +1.9 "
        "over new seeds and new items, at the rates chosen; 6 blocks of model "
        "and seed).",
    ),
    "worse by score": (
        replace(OUTCOME, verdict=Verdict.WORSE, score=replace(SCORE, difference=-0.8, low=-1.5, high=-0.04)),
        "olora scores lower than lora, by 0.8 percentage points on average over benchmarks (95% interval −1.5 to 0.0 "
        "over new seeds and new items, at the rates chosen; 6 blocks of model "
        "and seed).",
    ),
    "better by loss": (
        replace(BY_LOSS, verdict=Verdict.BETTER, loss=replace(LOSS, difference=-0.0322, low=-0.0752, high=-0.0052)),
        "olora ends at a lower loss than lora, by 0.032 nats of held-out loss (95% interval −0.075 to −0.005 "
        "over new seeds and these examples, at the rates chosen; 6 blocks of model and "
        "seed). By held-out loss: no benchmark is asked.",
    ),
    "worse by loss": (
        BY_LOSS,
        "olora ends at a higher loss than lora, by 0.032 nats of held-out loss (95% interval +0.005 to +0.075 "
        "over new seeds and these examples, at the rates chosen; 6 blocks of model and "
        "seed). By held-out loss: no benchmark is asked.",
    ),
    "better, and something to know": (
        replace(OUTCOME, reasons=(RunsDiffer("torch", ("2.12", "2.13")), RunsDiffer("harness", ("a", "b")))),
        "olora scores higher than lora, by 0.6 percentage points on average over benchmarks (95% interval +0.1 to +1.9 "
        "over new seeds and new items, at the rates chosen; 6 blocks of model "
        "and seed). Runs differ in torch and harness.",
    ),
    "unresolved": (
        replace(OUTCOME, verdict=Verdict.UNRESOLVED, reasons=(PairsMissing(1, 7),)),
        "Unresolved: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval +0.1 to +1.9 "
        "over new seeds and new items, at the rates chosen; 6 blocks of "
        "model and seed). 1 of 7 pairs missing.",
    ),
    "better within the margin": (
        replace(OUTCOME, verdict=Verdict.BETTER_WITHIN_MARGIN, margin=2.5),
        "olora scores higher than lora, by 0.6 percentage points on average over benchmarks, within the margin of 2.5 pp (95% interval "
        "+0.1 to +1.9 over new seeds and new items, at the rates chosen; 6 blocks of model and seed).",
    ),
    "worse within the margin": (
        replace(BY_LOSS, verdict=Verdict.WORSE_WITHIN_MARGIN, margin=0.1, reasons=()),
        "olora ends at a higher loss than lora, by 0.032 nats of held-out loss, within the margin of 0.1 nats (95% interval +0.005 to "
        "+0.075 over new seeds and these examples, at the rates chosen; 6 blocks of model and seed).",
    ),
    "equivalent, about two models": (
        replace(OUTCOME, verdict=Verdict.EQUIVALENT, margin=2.0, scope=Scope.THESE_MODELS, score=replace(SCORE, low=-0.4, high=1.7)),
        "Equivalent within the margin of 2 pp: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval "
        "−0.4 to +1.7 over new seeds and new items, these models, at the rates chosen; 6 blocks of model and seed).",
    ),
    "unresolved, about new models": (
        replace(OUTCOME, verdict=Verdict.UNRESOLVED, scope=Scope.NEW_MODELS, score=replace(SCORE, low=-0.4, high=1.7)),
        "Unresolved: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval −0.4 to +1.7 over new "
        "models, new seeds and new items, at the rates chosen; 6 blocks of model and seed).",
    ),
    "no verdict": (
        replace(OUTCOME, verdict=Verdict.NONE, reasons=(SearchesOpen(1),)),
        "No verdict: olora is at +0.6 percentage points on average over benchmarks against lora (95% interval +0.1 to +1.9 "
        "over new seeds and new items, at the rates chosen; 6 blocks of "
        "model and seed). 1 learning-rate search open or at an edge.",
    ),
    "too few runs": (
        replace(OUTCOME, verdict=Verdict.TOO_FEW_RUNS, score=replace(NOTHING, difference=0.6, blocks=1), reasons=(TooFewBlocks(1, 6),)),
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


def test_facts_say_blocks_test_scopes_pairs_what_could_be_found_and_the_loss() -> None:
    assert words.facts(OUTCOME, NO_LEVELS, SCOPES) == [
        "6 of 6 blocks for olora",
        "over new seeds and new items, p = 0.031, one contrast, so uncorrected (standard error, pp: 0.28 from blocks, that is seeds and "
        "answers that change from seed to seed, and 0.35 from items)",
        "a true difference is found four times in five from 1.2 (0.9 to 2.6) pp on",
        "of these trainings on new items: 95% interval −0.3 to +1.6 pp, by chance the wider interval of the two, and the one to read",
        "of these items only: p = 0.031 by the exact sign flip over blocks, uncorrected; it needs symmetry",
        "one search chose each arm's rate for all blocks: its luck is in no interval here",
        "6 pairs of runs planned, all done",
        "held-out loss: +0.032 nats per token, 95% interval +0.005 to +0.075 over new seeds and these examples, p = 0.031, uncorrected",
    ]


def test_at_looks_errors_are_compared_and_not_intervals_of_two_levels() -> None:
    by_looks = replace(OUTCOME, look=1.0, reasons=(over := ErrorOverItems(0.166, 0.207, by_loss=False, verdict="unresolved", same=False),))
    said = "by chance the error over items alone is the greater (0.21 against 0.17 pp): with it the verdict is"
    plain = "of these trainings on new items: 95% interval −0.3 to +1.6 pp"
    assert f"{plain}; {said} unresolved" in words.facts(by_looks, NO_LEVELS, SCOPES) and said not in words.headline(by_looks)
    assert f"{plain}; {said} the same" in words.facts(replace(by_looks, reasons=(replace(over, same=True),)), NO_LEVELS, SCOPES)
    assert plain in words.facts(replace(by_looks, reasons=()), NO_LEVELS, SCOPES)


def test_of_these_trainings_the_narrower_interval_has_no_remark() -> None:
    wide = replace(OUTCOME, score=replace(SCORE, low=-0.35, high=1.65))
    assert "of these trainings on new items: 95% interval −0.3 to +1.6 pp" in words.facts(wide, NO_LEVELS, SCOPES)


def test_only_a_rate_that_one_search_chose_for_all_blocks_is_said_to_be_luck() -> None:
    shared = replace(OUTCOME, comparison=replace(OUTCOME.comparison, role="shared", lr=3e-4))
    finalists = replace(OUTCOME, reasons=(GivenSearch((("lora", 9), ("olora", 9))),))
    for outcome, luck in ((OUTCOME, True), (shared, False), (finalists, False)):
        assert ("at the rates chosen" in words.headline(outcome)) is luck
        assert (words.SEARCH_LUCK in words.facts(outcome, NO_LEVELS, SCOPES)) is luck
        assert (words.SEARCH_LUCK in words.table_legend([outcome], by_loss=False)) is luck


def test_facts_give_both_losses_where_they_were_measured() -> None:
    levels = pd.DataFrame({"measure": ["report_loss", "spikes"], "value_reference": [3.372, 1.0], "value_arm": [3.405, 2.0]})
    assert words.facts(OUTCOME, levels, SCOPES)[-1] == (
        "held-out loss: lora 3.372, olora 3.405 (+0.032 nats per token, 95% interval +0.005 to +0.075 over new seeds and these examples, "
        "p = 0.031, uncorrected)"
    )
    assert words.facts(BY_LOSS, levels, SCOPES)[-1] == "held-out loss: lora 3.372, olora 3.405", "its difference is the headline's"


def test_a_secondary_comparison_has_its_own_p_and_gaps_are_counted() -> None:
    own = replace(OUTCOME.comparison, confirmatory=False)
    beside = replace(OUTCOME, comparison=own, holm_over=0, pairs_planned=9, pairs_missing=2, diverged=1)
    facts = words.facts(beside, NO_LEVELS, SCOPES.iloc[:0])
    assert (
        facts[1] == "over new seeds and new items, p = 0.031, uncorrected" and facts[4] == "9 pairs of runs planned, 2 missing, 1 diverged"
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_what_was_not_shown_is_never_said_to_be_absent(verdict: Verdict) -> None:
    said = words.headline(replace(OUTCOME, verdict=verdict, margin=1.0)) + " ".join(words.facts(OUTCOME, NO_LEVELS, SCOPES))
    assert "no difference" not in said.lower() and ("quivalent" in said) == (verdict is Verdict.EQUIVALENT)


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
