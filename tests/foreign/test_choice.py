"""What a person says over the checks of pairing: benchmarks, metrics, differences that are no matter, a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from lm_eval_logs import Log
from two_sides import ONE, answers, frame, said

from olora_bench.analysis.given import BenchmarkLacking, MeasureDiffers, Run, RunLacks
from olora_bench.errors import BadInput
from olora_bench.foreign.choice import Choice
from olora_bench.judge import judge
from olora_bench.study.imported import Read, read_runs

STUDY = {"name": "x", "title": "t", "runs": "runs/{arm}/seed{seed}", "contrasts": [{"arm": "olora", "reference": "lora"}]}
Sides = Callable[..., tuple[Path, Path]]
Caught = pytest.CaptureFixture[str]


@pytest.fixture
def importer(tmp_path: Path) -> Callable[..., Read]:
    """Import two seeds of two arms, as they lie in runs/."""
    for arm in ("olora", "lora"):
        for seed in (0, 1):
            Log(answers(seed, 0.0)).write(tmp_path / "runs" / arm / f"seed{seed}")

    def run(**keys: object) -> Read:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | keys), encoding="utf-8")
        return read_runs(tmp_path / "study.yaml", tmp_path / "results")

    return run


def again(folder: Path, right: Mapping[str, Any] | None = None, **log: Any) -> None:
    """Write a run's logs in place of those that are there."""
    for path in folder.rglob("*.json*"):
        path.unlink()
    Log(answers(0, 0.0) if right is None else right, **log).write(folder)


def differing(column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    values = ("0", "5")
    one, other = (frame(ONE).assign(**{column: value}) for value in values)
    return one, other


@pytest.mark.parametrize("what", ["version", "fewshot", "prompt"])
def test_what_is_accepted_is_compared_as_if_it_were_alike_and_said(what: str) -> None:
    one, other = differing(what)
    found = judge(one, other, choice=Choice(accept={"piqa": [what]}))
    expected = MeasureDiffers("piqa", what, () if what == "prompt" else ("0", "5"), 5 if what == "prompt" else 0)
    assert (found.accepted, found.left_out) == ((expected,), ())
    assert repr(found.said) == repr(judge(frame(ONE), frame(ONE)).said)  # as text: what is not known is NaN
    assert "Compared all the same, as was asked for:\n  - piqa: the runs do not share one " in str(found)


def test_accepting_one_difference_accepts_no_other() -> None:
    one, other = differing("version")
    with pytest.raises(BadInput) as caught:
        judge(one, other, choice=Choice(accept={"piqa": ["prompt"]}))
    assert str(caught.value) == (
        "no benchmark is left to compare. Piqa: the runs do not share one version (0, 5). "
        "If that is no matter, answer for it: --accept piqa=version"
    )


@pytest.mark.parametrize(
    "accept, what", [({"piqa": ["metric"]}, "metric"), ({"piqa": ["items"]}, "items"), ({"piqa": "version"}, "version")]
)
def test_another_metric_or_other_items_cannot_be_accepted(accept: Any, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        Choice(accept=accept)
    assert str(caught.value) == f"accept piqa={what} is not allowed: of each benchmark a list of version, fewshot, prompt"


def test_the_command_accepts_too(sides: Sides, capsys: Caught) -> None:
    olora, lora = sides(seeds=1)
    again(lora / "seed0", version=2.0)
    text = said((olora, lora), "--accept", "piqa=version", capsys=capsys)
    assert "1 benchmark, 1 seed of each" in text
    assert "all the same, as was asked for:\n  - piqa: the runs do not share one version (1.0, 2.0)" in text
    left = (
        "Left out:\n  - boolq: the runs do not share one version (1.0, 2.0)\n  If that is no matter, answer for it: --accept boolq=version"
    )
    assert left in text


def test_a_seed_is_left_out_in_place_of_a_benchmark_that_is_asked_for(sides: Sides, capsys: Caught) -> None:
    olora, lora = sides(seeds=3)
    again(lora / "seed1", {"boolq": answers(1, 0)["boolq"]})
    text = said((olora, lora), capsys=capsys)
    assert "1 benchmark, 3 seeds of each" in text and "To compare piqa over the seeds that have it: --benchmarks piqa ..." in text
    text = said((olora, lora), "--benchmarks", "piqa", "boolq", capsys=capsys)
    assert "2 benchmarks, 2 seeds of each (0, 2)" in text and "  - seed 1, of which lora has no score of piqa" in text


def test_benchmarks_that_are_not_asked_for_are_not_read(sides: Sides, capsys: Caught) -> None:
    olora, lora = sides(seeds=1)
    for path in lora.rglob("samples_boolq*"):
        path.write_text("{")
    assert "1 benchmark, 1 seed of each (0), item by item" in said((olora, lora), "--benchmarks", "piqa", capsys=capsys)


def test_frames_leave_a_seed_out_too() -> None:
    one = pd.concat([frame(ONE), frame({0: ONE[0]}, "boolq")])
    assert judge(one, one).left_out == (BenchmarkLacking("boolq", (Run("A", 1), Run("B", 1))),)
    found = judge(one, one, choice=Choice(("boolq", "piqa")))
    assert found.seeds == (0,)
    assert found.left_out == (RunLacks(Run("A", 1), ("boolq",)), RunLacks(Run("B", 1), ("boolq",)))


def test_no_seed_with_every_benchmark_is_an_error() -> None:
    with pytest.raises(BadInput) as caught:
        judge(pd.concat([frame(ONE), frame(ONE, "boolq")]), frame(ONE), choice=Choice(("piqa", "boolq")))
    assert str(caught.value) == "no seed has all of piqa, boolq: B, seed 0 has no score of boolq"


@pytest.mark.parametrize(
    "words, message",
    [
        (("--metric", "pica=acc"), "--metric: no run has a benchmark pica. There: boolq, piqa"),
        (("--metric", "piqa=accc"), "--metric: no run has a metric accc of piqa. There: acc,none"),
        (("--accept", "pica=version"), "accept: no run has a benchmark pica. There: boolq, piqa"),
        (("--accept", "piqa=colour"), "accept piqa=colour is not allowed: of each benchmark a list of version, fewshot, prompt"),
        (("--accept", "piqa"), "--accept piqa is not allowed: TASK=WHAT, e.g. hellaswag=version"),
        (("--benchmarks", "pica"), "benchmarks: no run has a benchmark pica. There: boolq, piqa"),
        (("--margin", "100"), "margin 100.0 is not allowed: percentage points above 0 and below 100"),
        (("--margin", "nan"), "margin nan is not allowed: percentage points above 0 and below 100"),
    ],
)
def test_a_word_that_means_nothing_there_is_refused(words: tuple[str, ...], message: str, sides: Sides, capsys: Caught) -> None:
    assert said(sides(seeds=1), *words, capsys=capsys, code=2) == f"{message}\n"


@pytest.mark.parametrize("option", ["benchmarks", "accept"])
def test_frames_without_a_benchmark_that_is_named_are_refused(option: str) -> None:
    choice = Choice(("pica",)) if option == "benchmarks" else Choice(accept={"pica": ["version"]})
    with pytest.raises(BadInput) as caught:
        judge(frame(ONE), frame(ONE), choice=choice)
    assert str(caught.value) == f"{option}: no run has a benchmark pica. There: piqa"


def test_a_benchmark_that_is_asked_for_and_cannot_be_judged_says_why(tmp_path: Path, capsys: Caught) -> None:
    Log({"piqa": answers(0, 0)["piqa"], "squad": [0.5, 0.25, 1.0]}).write(tmp_path)
    assert said((tmp_path, tmp_path), "--names", "a", "b", "--benchmarks", "squad", capsys=capsys, code=2) == (
        "benchmarks: nothing of squad can be read. "
        "Squad: acc of an item is 0.5, neither right (1) nor wrong (0): judge it by another metric.\n"
    )


@pytest.mark.parametrize("margin", [True, "1", 0, -1, 100, float("inf"), float("nan")])
def test_a_margin_is_a_difference_of_scores(margin: Any) -> None:
    with pytest.raises(BadInput, match=f"^margin {margin} is not allowed: percentage points above 0 and below 100$"):
        judge(frame(ONE), frame(ONE), margin=margin)


@pytest.mark.parametrize("names", [("a",), ("a", ""), ("a", 1)])
def test_names_are_two_texts(names: Any) -> None:
    with pytest.raises(BadInput) as caught:
        judge(frame(ONE), frame(ONE), names=names)
    assert str(caught.value) == f"names {names!r} is not allowed: two texts, one for each side"


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"metrics": {"pica": "acc"}}, "metrics: no run has a benchmark pica. There: boolq, piqa"),
        ({"metrics": {"piqa": "accc"}}, "metrics: no run has a metric accc of piqa. There: acc,none"),
        ({"benchmarks": ["pica"]}, "benchmarks: no run has a benchmark pica. There: boolq, piqa"),
        ({"accept": {"pica": ["prompt"]}}, "accept: no run has a benchmark pica. There: boolq, piqa"),
        (
            {"accept": {"piqa": ["metric"]}},
            "{path}: accept piqa=metric is not allowed: of each benchmark a list of version, fewshot, prompt",
        ),
        ({"margin": {"score": 100}}, "{path}: margin.score=100: input should be less than 100"),
        ({"margin": {"score": True}}, "{path}: margin.score=true: input should be a valid number"),
        ({"margin": {}}, "{path}: margin: it declares none: give score (percentage points), loss (nats) or both, or leave margin out"),
        ({"seeds": [True]}, "{path}: seeds.0: true is no number"),
        ({"lr": {"olora": True}}, "{path}: lr.olora: true is no number"),
    ],
)
def test_a_study_file_that_means_nothing_there_is_refused(
    keys: dict[str, object], message: str, importer: Callable[..., Read], tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as caught:
        importer(**keys)
    assert str(caught.value).lower() == message.replace("{path}", str(tmp_path / "study.yaml")).lower()
    assert not (tmp_path / "results" / "x").exists()


def test_a_study_compares_the_benchmarks_that_it_names(importer: Callable[..., Read], tmp_path: Path) -> None:
    again(tmp_path / "runs" / "lora" / "seed1", {"piqa": answers(1, 0)["piqa"]})
    assert importer().lacks == ["scores of 1 runs missing"]
    found = importer(benchmarks=["piqa"])
    assert found.lacks == [] and sorted(found.frames.scores["benchmark"].unique()) == ["piqa"]


def test_a_study_says_what_it_accepts(importer: Callable[..., Read], tmp_path: Path) -> None:
    again(tmp_path / "runs" / "lora" / "seed1", answers(1, 0.0), prompt="Other")
    found = importer(accept={"piqa": ["prompt"]})
    said = "piqa: the runs do not share one prompt in 60 items"
    assert f"compared all the same, as the study file asks: {said}" in found.frames.problems
    assert f"left out: {said.replace('piqa', 'boolq').replace('60', '90')}" in found.frames.problems
    assert sorted(found.frames.scores["benchmark"].unique()) == ["piqa"]
