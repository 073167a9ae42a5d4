"""Two sides of lm-eval's logs, or two frames, judged: the study's own arithmetic, and what does not enter is said."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lm_eval_logs import Log

import olora_bench
from olora_bench.analysis import StudyFrames, load_study
from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.given import (
    BenchmarkLacking,
    ItemsOfSome,
    ItemsUnknown,
    MeasureDiffers,
    RowsTwice,
    Run,
    SeedOfOneSide,
)
from olora_bench.analysis.outcome import Verdict, outcomes
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.scopes import About
from olora_bench.analysis.verdicts import confirmatory
from olora_bench.errors import BadInput
from olora_bench.judge import Judgement, judge, main
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
HARD = {name: np.random.default_rng(len(name)).random(items) for name, items in (("piqa", 60), ("boolq", 90))}


def answers(seed: int, lead: float) -> dict[str, list[int]]:
    """A run's right answers: hard items are hard for every run."""
    rng = np.random.default_rng([seed, int(lead * 100)])
    return {name: (0.6 * hard + 0.4 * rng.random(len(hard)) < 0.6 + lead).astype(int).tolist() for name, hard in HARD.items()}


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two folders of logs: `olora`, ahead by `lead`, and `lora`."""

    def write(*, seeds: int = 6, lead: float = 0.05, **log: object) -> tuple[Path, Path]:
        for arm, by in (("olora", lead), ("lora", 0.0)):
            for seed in range(seeds):
                Log(answers(seed, by), **log).write(tmp_path / arm / f"seed{seed}")  # type: ignore[arg-type]
        return tmp_path / "olora", tmp_path / "lora"

    return write


def frame(right: dict[int, list[float]], benchmark: str = "piqa") -> pd.DataFrame:
    """A frame of items: seed -> answers."""
    rows = [(seed, benchmark, f"i{place}", value) for seed, values in right.items() for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["seed", "benchmark", "item", "correct"])


def said(sides: tuple[Path, Path], *more: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What the command prints, or its error."""
    assert main([*map(str, sides), *more]) == code
    out = capsys.readouterr()
    return out.err if code else out.out


@pytest.fixture(scope="session")
def planted() -> StudyFrames:
    """Our own records of one model: olora against lora, six seeds, four benchmarks."""
    manifest = read_manifest(SYNTHETIC, "planted")
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


# Broken input, ten kinds and more: a clear message, or a counted exclusion.

ONE = {0: [1.0, 0, 1, 1, 0], 1: [1.0, 1, 0, 1, 0]}


def test_other_items_are_left_out_and_counted() -> None:
    other = frame(ONE).assign(item=lambda rows: rows["item"].replace("i4", "i9"))
    assert judge(frame(ONE), other).left_out == (ItemsOfSome("piqa", 2, 4),)


def test_no_common_item_is_an_error() -> None:
    other = frame(ONE).assign(item=lambda rows: "x" + rows["item"])
    with pytest.raises(BadInput) as caught:
        judge(frame(ONE), other)
    assert str(caught.value) == "no benchmark is left to compare. 10 items of piqa, which not every run answered; 0 are compared."


def test_shuffled_items_are_the_same() -> None:
    mixed = frame(ONE).sample(frac=1, random_state=1)
    other = frame({0: [0.0, 0, 1, 1, 1], 1: [1.0, 0, 0, 1, 0]})
    assert str(judge(frame(ONE), other)) == str(judge(mixed, other))


def test_doubled_rows_count_once_and_contradicting_ones_are_refused() -> None:
    twice = pd.concat([frame(ONE), frame(ONE).head(3)])
    assert judge(twice, frame(ONE)).left_out == (RowsTwice("piqa", 3),)
    other = pd.concat([frame(ONE), frame({0: [0.0]})])
    with pytest.raises(BadInput) as caught:
        judge(other, frame(ONE))
    assert str(caught.value) == "A, seed 0: item 'i0' of piqa stands there twice, right and wrong: keep one answer"


def test_a_half_written_file_names_its_line(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    olora, lora = sides(seeds=2)
    path = next(olora.rglob("seed1/*/samples_piqa*"))
    path.write_bytes(path.read_bytes()[:-40])
    assert said((olora, lora), capsys=capsys, code=2) == f"{path}: line 60 is cut off: the file is half-written\n"


def test_a_file_that_lacks_whole_lines_does_not_come_to_its_results(
    sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    olora, lora = sides(seeds=1)
    path = next(olora.rglob("samples_piqa*"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-5]))
    expected = f"{path}: 55 items, and results_2026-01-02T03-04-05.678901.json counts 60: half-written?\n"
    assert said((olora, lora), capsys=capsys, code=2) == expected


@pytest.mark.parametrize(
    "change, what, values",
    [({"prompt": "Other"}, "prompt", ()), ({"fewshot": 5}, "fewshot", ("0", "5")), ({"version": 2.0}, "version", ("1.0", "2.0"))],
)
def test_other_questions_leave_the_benchmark_out(
    change: dict[str, object], what: str, values: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"piqa": answers(0, 0)["piqa"]}
    for side, differs in (("a", {}), ("b", change)):
        Log(own, **differs).write(tmp_path / side)  # type: ignore[arg-type]
    said((tmp_path / "a", tmp_path / "b"), capsys=capsys, code=2)
    from olora_bench.analysis.given import shared
    from olora_bench.foreign.lm_eval_frames import of_folders

    found = shared({side: of_folders(str(tmp_path / side)).frame for side in "ab"})
    assert found.left_out == (MeasureDiffers("piqa", what, values, 0 if values else 60),)


def test_two_versions_of_lm_eval_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, version in (("a", "0.4.8"), ("b", "0.4.9")):
        Log(answers(0, 0), layout=version).write(tmp_path / side)
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys)
    assert "The runs do not share one harness: lm-eval 0.4.8, lm-eval 0.4.9." in text


def test_of_two_evaluations_the_newest_counts_and_the_other_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        Log(answers(0, 0)).write(tmp_path / side)
    Log({"piqa": answers(0, 0.3)["piqa"]}, date="2026-02-02T00-00-00").write(tmp_path / "a")
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys)
    assert "  - piqa, seed 0: an older evaluation, results_2026-01-02T03-04-05.678901.json; the newest counts" in text


def test_two_folders_of_one_seed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for lr in ("lr1", "lr2"):
        Log(answers(0, 0)).write(tmp_path / "a" / lr / "seed0")
    Log(answers(0, 0)).write(tmp_path / "b" / "seed0")
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys, code=2)
    assert text.startswith("seed 0 has two evaluations of piqa: ") and text.endswith(
        "Name the folder of one, or leave the other out of the glob\n"
    )


def test_a_missing_seed_leaves_its_pair_out(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    olora, lora = sides(seeds=3)
    shutil.rmtree(lora / "seed1")
    text = said((olora, lora), capsys=capsys)
    assert "2 seeds of each (0, 2)" in text and "  - seed 1, which olora alone has" in text
    assert judge(frame(ONE), frame({0: ONE[0]})).left_out == (SeedOfOneSide(1, "A"),)


def test_an_answer_that_is_not_known_leaves_its_item_out() -> None:
    other = frame({0: [1.0, float("nan"), 1, 1, 0], 1: ONE[1]})
    assert judge(other, frame(ONE)).left_out == (ItemsUnknown("piqa", 1),)


def test_a_benchmark_that_a_run_lacks_is_left_out() -> None:
    both = pd.concat([frame(ONE), frame(ONE, "boolq")])
    assert judge(both, frame(ONE)).left_out == (BenchmarkLacking("boolq", (Run("B", 0), Run("B", 1))),)


def test_a_file_without_permission_is_named(
    sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, who may read everything, too."""
    olora, lora = sides(seeds=1)
    path, opened = next(olora.rglob("samples_piqa*")), os.open

    def refuse(name: object, *more: int) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return opened(name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    assert said((olora, lora), capsys=capsys, code=2) == f"{path}: cannot be read: Permission denied\n"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    olora, lora = sides(seeds=1)
    path = next(olora.rglob("samples_piqa*"))
    path.unlink()
    os.mkfifo(path)
    assert said((olora, lora), capsys=capsys, code=2) == f"{path}: no regular file\n"


def test_a_task_without_right_and_wrong_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        Log({"piqa": answers(0, 0)["piqa"], "squad": [0.5, 0.25, 1.0]}).write(tmp_path / side)
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys)
    assert "  - squad: acc of an item is 0.5, neither right (1) nor wrong (0): judge it by another metric" in text


@pytest.mark.parametrize(
    "rows, message",
    [
        ({"item": ["i"]}, "missing column correct. Needed: seed, benchmark, item and correct, or seed, benchmark and score"),
        ({"item": ["i"], "correct": [1], "seed": [-1]}, "seed -1 is not allowed: whole numbers from 0 on, one for each run"),
        ({"item": ["i"], "correct": [0.5]}, "correct 0.5 is not allowed: 0 or 1, or nothing"),
        ({"score": [57]}, "score 57 is not allowed: a share from 0 to 1 (percent over 100)"),
    ],
)
def test_a_frame_that_is_not_as_described_is_refused(rows: dict[str, list[object]], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        judge(pd.DataFrame({"seed": [0], "benchmark": ["b"]} | rows), frame(ONE))
    assert str(caught.value) == f"A: {message}"


def test_runs_without_a_seed_in_their_path_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        for name in ("first", "other"):
            Log(answers(0, 0)).write(tmp_path / side / name)
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys, code=2)
    assert "no seed in its path, and there are other runs. Name folders seed0, seed1, ..., or say where the seed stands: --pattern" in text


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


def test_the_base_of_an_adapter_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        extra = {"config": {"model_args": {"pretrained": f"base-{side}", "peft": "adapter"}}}
        Log(answers(0, 0), extra=extra).write(tmp_path / side)
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys)
    assert "The runs do not share one base: base-a, base-b." in text


def test_items_and_results_of_two_evaluations_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        Log({"piqa": answers(0, 0)["piqa"]}).write(tmp_path / side)
    path = next((tmp_path / "a").rglob("results*"))
    raw = json.loads(path.read_text())
    raw["results"]["piqa"]["acc,none"] = 0.25
    path.write_text(json.dumps(raw))
    assert "says 0.250000: not of one evaluation" in said((tmp_path / "a", tmp_path / "b"), capsys=capsys, code=2)


def test_scopes_with_few_seeds_are_exploratory() -> None:
    one = judge(*(frame({seed: answers(seed, lead)["boolq"] for seed in range(4)}) for lead in (0.1, 0.0)))
    assert [scope.about for scope in one.said] == [About.SEEDS_AND_ITEMS, About.ITEMS]
    assert one.verdict is Verdict.TOO_FEW_RUNS and one.said[0].verdict is None
    assert "exploratory: 4 seeds, and a verdict needs 6" in str(one)


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
    from olora_bench.foreign.lm_eval_frames import of_folders
    from olora_bench.store.item_source import source_of

    Log({"boolq": [1, 0, 1, 1]}).write(tmp_path)
    path = next(tmp_path.rglob("samples*"))
    rows = [json.loads(line) | {"doc": {"passage": f"p{number // 2}"}} for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = [source_of({"passage": name}) for name in ("p0", "p0", "p1", "p1")]
    assert of_folders(str(tmp_path)).frame["source"].tolist() == expected
