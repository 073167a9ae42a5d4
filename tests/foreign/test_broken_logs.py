"""Ten kinds of broken input and more: a clear message, or a counted exclusion."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from lm_eval_logs import Log
from two_sides import ONE, answers, frame, said

from olora_bench.analysis.given import BenchmarkLacking, ItemsOfSome, ItemsUnknown, MeasureDiffers, RowsTwice, Run, SeedOfOneSide, matched
from olora_bench.errors import BadInput
from olora_bench.foreign.lm_eval_frames import Wanted, of_results, results_of
from olora_bench.judge import judge


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
    found = matched({side: of_results("", results_of(str(tmp_path / side)), Wanted()).frame for side in "ab"})
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
        ({"score": [0.5], "items": [0]}, "items 0 is not allowed: whole numbers from 1 on, or nothing"),
        ({"score": [0.5], "items": ["many"]}, "items 'many' is not allowed: whole numbers from 1 on, or nothing"),
    ],
)
def test_a_frame_that_is_not_as_described_is_refused(rows: dict[str, list[object]], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        judge(pd.DataFrame({"seed": [0], "benchmark": ["b"]} | rows), frame(ONE))
    assert str(caught.value) == f"A: {message}"


def test_a_metric_without_its_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Log(answers(0, 0)).write(tmp_path)
    text = said((tmp_path, tmp_path), "--metric", "acc", capsys=capsys, code=2)
    assert text == "--metric acc is not allowed: TASK=METRIC, e.g. hellaswag=acc\n"


def test_runs_without_a_seed_in_their_path_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        for name in ("first", "other"):
            Log(answers(0, 0)).write(tmp_path / side / name)
    text = said((tmp_path / "a", tmp_path / "b"), capsys=capsys, code=2)
    assert "no seed in its path, and there are other runs. Name folders seed0, seed1, ..., or say where the seed stands: --pattern" in text


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


@pytest.mark.parametrize(
    "change, message",
    [
        ({"item": [[1]]}, "A: column item holds what is neither text nor a number: [1]"),
        ({"prompt": [{}]}, "A: column prompt holds what is neither text nor a number: {}"),
        ({"correct": [1j]}, "A: column correct holds what is neither text nor a number: 1j"),
        ({"seed": [True]}, "A: seed True is not allowed: whole numbers from 0 on, one for each run"),
        ({"benchmark": ["a\x1b"]}, "A: benchmark 'a\\x1b' is not allowed: printable text that does not begin with = + - @"),
        ({"metric": ["=1"]}, "A: metric '=1' is not allowed: printable text that does not begin with = + - @"),
    ],
)
def test_values_that_are_no_text_or_number_are_refused(change: dict[str, list[object]], message: str) -> None:
    rows = {"seed": [0], "benchmark": ["b"], "item": ["i"], "correct": [1]}
    with pytest.raises(BadInput) as caught:
        judge(pd.DataFrame(rows | change), frame(ONE))
    assert str(caught.value) == message


def test_a_column_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        judge(pd.concat([frame(ONE), frame(ONE)[["correct"]]], axis=1), frame(ONE))
    assert str(caught.value) == "A: column correct stands there twice: keep one"


def test_a_choice_is_a_choice() -> None:
    with pytest.raises(BadInput) as caught:
        judge(frame(ONE), frame(ONE), choice={"benchmarks": ["piqa"]})  # type: ignore[arg-type]
    assert str(caught.value) == "choice: dict is no Choice: olora_bench.judge.Choice(benchmarks=..., accept=...)"


def test_an_empty_list_of_seeds_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        judge(frame(ONE), frame(ONE), seeds=[])
    assert str(caught.value) == "seeds: none is named. Seeds that are there: 0, 1"


def test_ids_that_are_numbers_or_text_are_one_item() -> None:
    as_number = frame(ONE).assign(item=lambda rows: rows["item"].str[1:].astype(int))
    assert judge(as_number, as_number.assign(item=as_number["item"].astype(str))).left_out == ()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "Int64", "float64", "category", "object"])
def test_seeds_are_of_any_type_of_number(dtype: str) -> None:
    assert judge(frame(ONE).astype({"seed": dtype}), frame(ONE)).seeds == (0, 1)


def test_what_frames_say_beside_is_printed_without_control_characters() -> None:
    text = str(judge(frame(ONE).assign(base="a\x1b[31m"), frame(ONE).assign(base="b")))
    assert "The runs do not share one base: a?[31m, b." in text


def test_a_line_that_is_nested_without_end_is_said(sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    olora, lora = sides(seeds=1)
    path = next(olora.rglob("samples_piqa*"))
    path.write_text('{"a":' * 100_000)
    assert said((olora, lora), capsys=capsys, code=2) == f"{path}: line 1 is nested too deeply\n"


def test_a_line_without_end_is_said(
    sides: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("olora_bench.foreign.files.MOST_LINE_BYTES", 50)
    olora, lora = sides(seeds=1)
    path = next(olora.rglob("samples_piqa*"))
    assert said((olora, lora), capsys=capsys, code=2) == f"{path}: line 1 is longer than 50 bytes\n"
