"""A run that is asked for alone says what it will do and how long that takes, before it does it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from olora_bench.config import Experiment, compose, load
from olora_bench.identity import Identified
from olora_bench.run.experiment import identified, run
from olora_bench.study.estimate import train_rows
from olora_bench.study.pace import Pace, Paces
from olora_bench.study.run_plan import run_plan

TINY = ["model=tiny_llama2_7b", "data=made_up", "suite=commonsense6_made_up", "tracker=none"]
SLOW = Pace(train=0.02, read=0.005, request=0.15, exact=0.5, answer=0.5, setup=10.0)


def slowly(known: Paces, experiments: list[Experiment]) -> tuple[Paces, None]:
    return replace(known, measured={one.model.name: SLOW for one in experiments}), None


def never(known: Paces, experiments: list[Experiment]) -> tuple[Paces, None]:
    raise AssertionError("a matter of seconds is not measured first")


@pytest.fixture
def what(tmp_path: Path):  # type: ignore[no-untyped-def]
    def make(*overrides: str) -> Identified:
        fixed = ["precision=fp32", "machine.device=cpu", f"machine.results_dir={tmp_path}"]
        return identified(load(compose([*fixed, *overrides])))[0]

    return make


def test_hours_of_scoring_are_said_with_what_shortens_them(what) -> None:  # type: ignore[no-untyped-def]
    assert run_plan(what("init=olora"), measure=slowly) == (
        "plan: score the untouched base on 18,089 items, about 2h29m; train about 625 steps, about 4h14m; "
        "score the trained model on 18,089 items, about 2h29m (times measured here on random weights of smollm2_135m_q4). "
        "Scoring would take about 18m00s with suite.limit=200 (items of each benchmark)"
    )


def test_answers_are_told_and_limited_by_their_own_key(what) -> None:  # type: ignore[no-untyped-def]
    said = run_plan(what("data=alpaca_1k", "suite=alpaca_generation", "recipe.steps=1", "model=smollm2_135m_q4"), measure=slowly)
    assert said.startswith("plan: score the untouched base on 500 answers, about 8h53m; train 1 step, about 3h22m; ")
    assert said.endswith(". Scoring would take about 7h06m with suite.generation.limit=200 (answers)")


def test_training_alone_has_no_scoring(what) -> None:  # type: ignore[no-untyped-def]
    said = run_plan(what("init=olora", "suite=none", "recipe.steps=100"), measure=slowly)
    assert said == "plan: train 100 steps, about 1h54m (times measured here on random weights of smollm2_135m_q4)"


def test_seconds_are_neither_measured_nor_told(what) -> None:  # type: ignore[no-untyped-def]
    assert run_plan(what(*TINY), measure=never) == (
        "plan: score the untouched base on 48 items; train about 6 steps; score the trained model on 48 items"
    )


def test_what_is_done_is_no_part_of_the_plan(machine: list[str]) -> None:
    """The base is scored once for all its runs; a trained run that is scored on more is not trained again."""
    told: list[str] = []
    for overrides in ([], ["init=olora"], ["suite.limit=4"]):
        one = load(compose([*TINY, "suite.benchmarks=[piqa]", "recipe.steps=2", *machine, *overrides]))
        run(one, foretell=lambda what: told.append(run_plan(what, measure=never)))
    # A busy machine makes a run of two steps long enough for its time to be told.
    assert [re.sub(r", (about|under) [^;(]*(?=;| \(|$)| \(times from .*\)", "", one) for one in told] == [
        "plan: score the untouched base on 8 items; train 2 steps; score the trained model on 8 items",
        "plan: train 2 steps; score the trained model on 8 items",
        "plan: score the untouched base on 4 items; score the trained model on 4 items",
    ]


def test_steps_of_an_own_file_are_those_of_its_rows(tmp_path: Path) -> None:
    rows = tmp_path / "my.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n' * 360)
    assert train_rows(load(compose(["data=file", f"data.path={rows}"]))) == 320
    rows.write_text('{"fold": "train"}\n' * 30 + '{"fold": "dev"}\n' * 6)
    assert train_rows(load(compose(["data=file", f"data.path={rows}", "data.split_column=fold"]))) == 30


@pytest.mark.parametrize(("rows", "epochs", "steps"), [(300, 1, 17), (296, 1, 16), (300, 2, 34), (41, 0.5, 1)])
def test_a_plan_counts_steps_as_training_does(rows: int, epochs: float, steps: int, what, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Forty rows are held out; a last batch that is not full is a step. What overlaps is only known later, so it says about."""
    file = tmp_path / "my.jsonl"
    file.write_text('{"instruction": "a", "output": "b"}\n' * rows)
    said = run_plan(what("model=tiny_llama2_7b", "data=file", f"data.path={file}", "suite=none", f"recipe.epochs={epochs}"), measure=never)
    assert said == f"plan: train about {steps} step{'s' * (steps > 1)}"


def test_each_part_of_a_run_of_some_seconds_has_its_time(what) -> None:  # type: ignore[no-untyped-def]
    said = run_plan(what(*TINY[:3], "recipe.steps=2000", "machine.threads=2"), measure=never)
    assert said == (
        "plan: score the untouched base on 48 items, under 1s; train 2,000 steps, about 19s; score the trained model on 48 items, under 1s "
        "(times from FLOPs, assuming 2 threads at 50 GFLOP/s: no finished run on this hardware)"
    )


def test_the_command_of_the_page_shows_a_result(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    command = next(line for line in page.splitlines() if line.startswith("    python -m olora_bench model=tiny_llama2_7b"))
    done = cli(*shlex.split(command)[3:], "machine.threads=1", f"machine.cache_dir={tmp_path}/cache")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("plan: score the untouched base on 48 items; train about 24 steps; score the trained model on 48 items\n")
    before, after = (float(part.split(" ")[0]) for part in done.stdout.split("held-out loss ")[1].split(", ")[:2])
    assert after < before - 1 and done.stdout.count("(base ") == 6
