"""Two sides of lm-eval's logs, or two frames, judged: the study's own arithmetic, and what does not enter is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from lm_eval_logs import Log
from two_sides import answers, frame, said

import olora_bench
from olora_bench.analysis import StudyFrames, load_study
from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.outcome import Verdict, outcomes
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.scopes import About
from olora_bench.analysis.verdicts import confirmatory
from olora_bench.judge import Judgement, judge
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.fixture(scope="session")
def planted() -> StudyFrames:
    """Our own records of one model: olora against lora, six seeds, four benchmarks."""
    manifest = read_manifest(Home(SYNTHETIC, "planted"))
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    runs = frames.runs[(frames.runs["model"] == "syn_a") & frames.runs["longest"]]
    return replace(frames, runs=runs, contrasts=tuple(c for c in frames.contrasts if (c.arm, c.reference) == ("olora", "lora")))


def of_records(frames: StudyFrames, arm: str) -> pd.DataFrame:
    """An arm's answers in our own records, as a frame for `judge`."""
    store, primary = Store(SYNTHETIC), frames.scores[frames.scores["primary"]].drop_duplicates("benchmark").set_index("benchmark")["metric"]
    parts = []
    for run in frames.runs[frames.runs["arm"] == arm].itertuples():
        items = store.read_items(str(run.train_id), None, str(run.eval_id))
        assert items is not None
        normed = items["benchmark"].map(primary) == "acc_norm"
        right = items["correct_norm"].where(normed, items["correct"])
        parts.append(pd.DataFrame({"seed": run.seed, "benchmark": items["benchmark"], "item": items["item_id"], "correct": right}))
    return pd.concat(parts)


def test_the_verdict_is_the_studys_number_for_number(planted: StudyFrames) -> None:
    pair = pairs(planted)
    (ours,) = outcomes(confirmatory(planted, compared(planted, pair, seed_differences(planted, pair))))
    found = judge(of_records(planted, "olora"), of_records(planted, "lora"), names=("olora", "lora")).outcome
    assert found.score == ours.score
    assert (found.verdict, found.p, found.blocks_for, found.scope) == (ours.verdict, ours.p, ours.blocks_for, ours.scope)
    assert ours.score.has_interval


def test_the_package_is_called_and_run() -> None:
    """`olora_bench.judge` is a function in whatever order it is imported."""
    one = {0: [1.0, 0, 1, 1], 1: [1, 1, 0, 1]}
    assert isinstance(olora_bench.judge(frame(one), frame(one)), Judgement)
    code = (
        "import olora_bench as o, sys; print(callable(o.judge)); import olora_bench.judge; print(callable(o.judge), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True", "False"]


def test_six_seeds_make_a_verdict(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(sides(lead=0.2), capsys=capsys)
    assert text.startswith(
        "olora against lora: 2 benchmarks, 6 seeds of each (0, 1, 2, 3, 4, 5), item by item.\n\nolora scores higher than lora"
    )
    assert "over new seeds and new items; 6 blocks of model and seed)." in text
    assert "What would decide it" not in text


def test_one_seed_says_nothing_of_the_methods(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(sides(lead=0.2), "--seeds", "3", capsys=capsys)
    assert "No verdict on olora against lora as methods: 1 seed of each" in text
    assert "Of these trainings, on new items of these benchmarks: better; 95% interval" in text
    assert "Over new seeds" not in text
    assert "What would decide it: at least 6 seeds of each side" in text


def test_what_would_decide_it_is_the_fewest_seeds_that_find_the_margin(sides: Callable[..., tuple[Path, Path]]) -> None:
    from olora_bench.analysis.power import found, planned

    a, b = (frame({seed: answers(seed, lead)["boolq"] for seed in range(6)}) for lead in (0.01, 0.0))
    one = judge(a, b, margin=2.0)
    assert one.verdict is Verdict.UNRESOLVED
    assert one.needs is not None and one.needs.seeds is not None
    assert one.needs.by_margin and one.needs.difference == 2.0
    estimate = _estimate(a, b)

    def finds(seeds: int) -> float:
        return found(planned(estimate, blocks=seeds / 6, items=one.needs.items)).difference  # type: ignore[union-attr]

    assert finds(one.needs.seeds) <= 2.0 < finds(one.needs.seeds - 1)


def _estimate(a: pd.DataFrame, b: pd.DataFrame) -> object:
    from olora_bench.analysis.crossed import crossed

    tables = [
        one.pivot(index="item", columns="seed", values="correct").sort_index(key=lambda ids: ids.str[1:].astype(int)) for one in (a, b)
    ]
    return crossed([100 * (tables[0] - tables[1]).to_numpy()])


@pytest.mark.parametrize("layout", ["0.4.0", "0.4.3", "0.4.9"])
def test_every_layout_reads_alike(layout: str, sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(sides(layout=layout, seeds=2), capsys=capsys)
    expected = str(judge(*(_frame_of(lead, 2) for lead in (0.05, 0.0)), names=("olora", "lora")))
    assert re.findall(r"[\d.]+", text) == re.findall(r"[\d.]+", expected)


def _frame_of(lead: float, seeds: int) -> pd.DataFrame:
    parts = [frame({seed: own}, name) for seed in range(seeds) for name, own in answers(seed, lead).items()]
    return pd.concat(parts)


def test_without_samples_nothing_is_said_of_new_items(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(sides(samples=False), capsys=capsys)
    assert "by their scores alone, without single items" in text
    assert "No verdict: olora is at" in text and "nothing is said of new items" in text
    assert "Over new seeds, these items only: 95% interval" in text
    assert "Of these trainings" not in text
    assert "single items of piqa, boolq: no samples beside the results (--log_samples)" in text
    assert "What would decide it: answers to single items (lm-eval's --log_samples)." in text


def test_items_of_one_source_count_once() -> None:
    from olora_bench.analysis.crossed import by_cluster, crossed

    sides = [frame({seed: answers(seed, lead)["boolq"] for seed in range(6)}) for lead in (0.1, 0.0)]
    told = [one.assign(source=one["item"].str[1:].astype(int).floordiv(4).astype(str)) for one in sides]
    one = judge(told[0], told[1])
    tables = [side.set_index(["item", "seed"])["correct"].unstack(sort=False).to_numpy() for side in sides]
    low, high = crossed([by_cluster(100.0 * (tables[0] - tables[1]), [place // 4 for place in range(90)])]).interval()
    assert (one.outcome.score.low, one.outcome.score.high) == (pytest.approx(float(low)), pytest.approx(float(high)))
    assert one.outcome.score.low != judge(sides[0], sides[1]).outcome.score.low


def test_logs_tell_the_passage_that_items_share(tmp_path: Path) -> None:
    from olora_bench.foreign.lm_eval_frames import Wanted, of_results, results_of
    from olora_bench.store.item_source import source_of

    Log({"boolq": [1, 0, 1, 1]}).write(tmp_path)
    path = next(tmp_path.rglob("samples*"))
    rows = [json.loads(line) | {"doc": {"passage": f"p{number // 2}"}} for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = [source_of({"passage": name}) for name in ("p0", "p0", "p1", "p1")]
    assert of_results("", results_of(str(tmp_path)), Wanted()).frame["source"].tolist() == expected


def test_a_pattern_names_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        for seed in (4, 5):
            Log(answers(seed, 0)).write(tmp_path / side / f"try-{seed}x")
    assert "2 seeds of each (4, 5)" in said((tmp_path / "a", tmp_path / "b"), "--pattern", "try-{seed}x", capsys=capsys)


def test_a_glob_is_a_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arm in ("olora", "lora"):
        for seed in (0, 1):
            Log(answers(seed, 0)).write(tmp_path / f"{arm}-seed{seed}")
    globs = (tmp_path / "olora-seed*", tmp_path / "lora-seed*")
    assert said(globs, capsys=capsys).startswith("olora-seed* against lora-seed*: 2 benchmarks, 2 seeds of each (0, 1)")


def test_scopes_with_few_seeds_are_exploratory() -> None:
    one = judge(*(frame({seed: answers(seed, lead)["boolq"] for seed in range(4)}) for lead in (0.1, 0.0)))
    assert [scope.about for scope in one.said] == [About.SEEDS_AND_ITEMS, About.ITEMS]
    assert one.verdict is Verdict.TOO_FEW_RUNS and one.said[0].verdict is None
    assert "exploratory: 4 seeds, and a verdict needs 6" in str(one)


@pytest.mark.parametrize("wider", [True, False])
def test_where_the_wider_scope_has_the_narrower_interval_the_other_is_to_be_read(wider: bool) -> None:
    one = judge(*(frame({seed: answers(seed, lead)["boolq"] for seed in range(6)}) for lead in (0.1, 0.0)))
    both, items = one.said
    low, high = both.effect.low - 1, both.effect.high + (1 if wider else -1.5)
    shown = str(replace(one, said=(both, replace(items, effect=replace(items.effect, low=low, high=high)))))
    assert ("on new items is by chance the wider one, and the one to read." in shown) is wider
    assert shown.count("uncorrected (standard error, pp: ") == 2 and "that change from seed to seed, and " in shown


@pytest.mark.parametrize("named", [True, False], ids=["rows name their filter", "rows do not (before 0.4.5)"])
@pytest.mark.parametrize("metric, right", [(None, [1.0, 0, 1]), ("exact_match,flexible-extract", [1.0, 1, 1])])
def test_of_several_filters_one_is_judged(named: bool, metric: str | None, right: list[float], tmp_path: Path) -> None:
    """lm-eval lists every document once for each filter; its first one counts unless another is asked for."""
    from olora_bench.foreign.lm_eval_frames import Wanted, of_results, results_of

    answers = {"strict-match": [1.0, 0, 1], "flexible-extract": [1.0, 1, 1]}
    path = Log({"gsm8k": [1, 0, 1]}, metric="exact_match").write(tmp_path)
    raw = json.loads(path.read_text())
    raw["results"]["gsm8k"] = {f"exact_match,{name}": sum(own) / 3 for name, own in answers.items()}
    path.write_text(json.dumps(raw))
    samples = next(tmp_path.rglob("samples*"))
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    told = [row | {"filter": name, "exact_match": own[row["doc_id"]]} for name, own in answers.items() for row in rows]
    kept = [row if named else {key: value for key, value in row.items() if key != "filter"} for row in told]
    samples.write_text("".join(json.dumps(row) + "\n" for row in kept))
    found = of_results("", results_of(str(tmp_path), {} if metric is None else {"gsm8k": metric}), Wanted()).frame
    assert found["correct"].tolist() == right
