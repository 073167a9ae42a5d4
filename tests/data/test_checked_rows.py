"""Rows of benchmarks: what each must hold, and what is said of one that does not."""

from __future__ import annotations

import random
from pathlib import Path

import datasets
import pytest
from tiny_rows import SIX, read_benchmarks, row, write_rows

from olora_bench.config.compose import compose, load
from olora_bench.data import benchmark_tasks, build_parts, check
from olora_bench.errors import BadInput
from olora_bench.models.tokenizer import byte_tokenizer

ANSWERS = {"arc_challenge": "answerKey", "openbookqa": "answerKey", "boolq": "label", "hellaswag": "label", "piqa": "label"}
ANSWERS["winogrande"] = "answer"
STEP = "Correct the row, or take it out"


def put(folder: Path, name: str, changes: dict[int, dict[str, object]], *, split: str | None = None, count: int = 6) -> dict[str, Path]:
    """Both splits of a benchmark; in `split` (default: the scored one) row n is changed by `changes[n]`."""
    rng, scored = random.Random(name), read_benchmarks((name,))[name].report_split
    for one in ("train", scored):
        rows = [row(name, rng, n, one) for n in range(count)]
        rows = [r | (changes.get(n, {}) if one == (split or scored) else {}) for n, r in enumerate(rows)]
        write_rows(folder, one, rows)
    return {f"benchmark:{name}": folder}


def refused(folder: Path, name: str, changes: dict[int, dict[str, object]]) -> str:
    with pytest.raises(BadInput) as caught:
        benchmark_tasks(read_benchmarks((name,)), put(folder, name, changes), 0)
    return str(caught.value)


@pytest.mark.parametrize("row_", [0, 3])
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("arc_challenge", {"answerKey": "Z"}, "answerKey is 'Z', which answers none of its"),
        ("openbookqa", {"answerKey": "Z"}, "answerKey is 'Z', which answers none of its"),
        ("boolq", {"label": 2}, "label is 2, which answers none of its 2 choices"),
        ("piqa", {"label": -2}, "label is -2, which answers none of its 2 choices"),
        ("hellaswag", {"label": "4"}, "label is '4', which answers none of its 4 choices"),
        ("hellaswag", {"label": "one"}, "label is 'one', of which lm-eval's task can make nothing (ValueError: "),
        ("hellaswag", {"ctx_b": None}, "ctx_b is null, of which lm-eval's task can make nothing (AttributeError: "),
        ("winogrande", {"answer": "3"}, "answer is '3', which answers none of its 2 choices"),
        ("winogrande", {"sentence": "No gap."}, "sentence is 'No gap.', of which no choices can be made (ValueError: substring not found)"),
        ("winogrande", {"option1": " "}, "option1 is ' ', which is blank"),
        ("boolq", {"passage": None}, "passage is null, which is missing"),
        ("boolq", {"question": " "}, "question is ' ', which is blank"),
        ("piqa", {"sol2": None}, "sol2 is null, so that one of its choices is missing"),
        ("openbookqa", {"choices": {"text": ["a", "", "c", "d"], "label": ["A", "B", "C", "D"]}, "answerKey": "A"},
         "choices is {'text': ['a', '', 'c', 'd'], 'label': ['A', 'B', 'C', 'D']}, so that one of its choices is blank"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(tmp_path: Path, name: str, changes: dict[str, object], message: str, row_: int) -> None:
    """File, row (from 1), column and value, be it the first row or another."""
    found = refused(tmp_path, name, {row_: changes})
    file = tmp_path / f"{read_benchmarks((name,))[name].report_split}.parquet"
    assert found.startswith(f"benchmark {name}: {file}, row {row_ + 1}: {message}") and found.endswith(STEP)


@pytest.mark.parametrize("name", SIX)
def test_scored_rows_without_an_answer_are_refused(tmp_path: Path, name: str) -> None:
    """Whichever way the data set marks them."""
    column = ANSWERS[name]
    mark = -1 if name in ("boolq", "piqa") else ""
    file = tmp_path / f"{read_benchmarks((name,))[name].report_split}.parquet"
    assert refused(tmp_path, name, {n: {column: mark} for n in (2, 4)}) == (
        f"benchmark {name}: {file}, row 3: {column} is {mark!r}, which marks a row without an answer. 2 of the 6 rows of this split are "
        "such, and it is to be scored or trained on. Put a split with answers there, or take these rows out"
    )


@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("null", [False, True])
def test_train_rows_without_an_answer_are_left_out_and_counted(
    tmp_path: Path, name: str, null: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are in no part, the count is the run's, and it is said."""
    mark = None if null else -1 if name in ("boolq", "piqa") else ""
    paths = put(tmp_path, name, {n: {ANSWERS[name]: mark} for n in (0, 5)}, split="train")
    sizes = ("data.train_size=null", "data.tune_size=1", "data.report_size=1", "data.decontaminate=[]", "data.cutoff=2000")
    one = load(compose(["model=tinyllama", "suite=none", "data=made_up", f"data.benchmarks=[{name}]", *sizes]))
    parts = build_parts(one, paths, byte_tokenizer(4096))
    assert len(parts.train) + len(parts.tune) == 4
    assert [parts.counts[part]["unlabelled"] for part in ("train", "tune", "report")] == [2, 0, 0]
    said = f"benchmark {name}: 2 of the 6 rows of {tmp_path / 'train.parquet'} have no answer in {ANSWERS[name]}: they are left out"
    assert said in capsys.readouterr().err


def test_train_rows_are_checked_where_they_are_trained_on_or_shown(tmp_path: Path) -> None:
    """A bad train row stops training and few-shot, with its place after rows left out, and no zero-shot score."""
    paths = put(tmp_path, "boolq", {1: {"label": -1}, 3: {"label": 7}}, split="train")
    benchmarks = read_benchmarks(("boolq",))
    task = benchmark_tasks(benchmarks, paths, 0)["boolq"]
    message = f"benchmark boolq: {tmp_path / 'train.parquet'}, row 4: label is 7, which answers none of its 2 choices"
    for work in (task.training_docs, lambda: benchmark_tasks(benchmarks, paths, 1)):
        with pytest.raises(BadInput) as caught:
            work()
        assert str(caught.value).startswith(message)


def test_ids_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    """With both rows."""
    assert refused(tmp_path, "arc_challenge", {4: {"id": "test_1"}}) == (
        f"benchmark arc_challenge: {tmp_path / 'test.parquet'}, row 5: id is 'test_1', as it is in row 2; ids tell items apart. {STEP}"
    )


FOUR = ["amber", "barn", "candle", "drift"]


@pytest.mark.parametrize("row_", [0, 3])
@pytest.mark.parametrize("name", ["arc_challenge", "openbookqa"])
@pytest.mark.parametrize(
    ("texts", "labels", "told"),
    [
        (FOUR, ["A", "A", "A", "A"], "where 'A' names 4 choices and each needs a key of its own"),
        (FOUR, ["A", "B", "B", "C"], "where 'B' names 2 choices and each needs a key of its own"),
        (FOUR, ["A", "B", "C"], "3 keys for the 4 choices of its text"),
        (FOUR[:3], ["A", "B", "C", "D"], "4 keys for the 3 choices of its text"),
    ],
)
def test_keys_that_do_not_tell_choices_apart_are_refused(
    tmp_path: Path, name: str, texts: list[str], labels: list[str], told: str, row_: int
) -> None:
    """Also where the answer is found among them: the first of equal keys would be taken for it."""
    assert refused(tmp_path, name, {row_: {"choices": {"text": texts, "label": labels}, "answerKey": "A"}}) == (
        f"benchmark {name}: {tmp_path / 'test.parquet'}, row {row_ + 1}: choices.label is {labels}, {told}. {STEP}"
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("arc_challenge", "Z", "4 choices. Allowed: 'A', 'B', 'C', 'D'"),
        ("boolq", 2, "2 choices. Allowed: 0, 1"),
        ("hellaswag", "4", "4 choices. Allowed: '0', '1', '2', '3'"),
        ("winogrande", "3", "2 choices. Allowed: '1', '2'"),
    ],
)
def test_the_answers_that_a_row_may_have_are_said(tmp_path: Path, name: str, value: object, told: str) -> None:
    """A row's own keys, positions, or whatever else lm-eval's task takes, also of the first row."""
    choices = {"choices": {"text": FOUR, "label": list("ABCD")}} if name == "arc_challenge" else {}
    found = refused(tmp_path, name, {0: {ANSWERS[name]: value, **choices}})
    assert found.endswith(f", row 1: {ANSWERS[name]} is {value!r}, which answers none of its {told}. {STEP}")


@pytest.mark.parametrize(("kind", "said"), [(bool, "true or false"), (float, "a decimal number"), (str, "text")])
def test_an_answer_column_of_another_type_is_said(tmp_path: Path, kind: type, said: str) -> None:
    """True is no 1."""
    found = refused(tmp_path, "boolq", {n: {"label": kind(n % 2)} for n in range(6)})
    assert found == (
        f"benchmark boolq: {tmp_path / 'validation.parquet'}, row 1: label is {kind(0)!r}, which answers none of its 2 choices. "
        f"Allowed: 0, 1 (a whole number; the column has {said}). {STEP}"
    )


def test_a_column_of_another_case_is_to_be_renamed(tmp_path: Path) -> None:
    """As of instructions."""
    paths = put(tmp_path, "boolq", {})
    rows = datasets.Dataset.from_parquet(str(tmp_path / "validation.parquet"), cache_dir=str(tmp_path / "c")).to_list()
    write_rows(tmp_path, "validation", [{"Passage " if c == "passage" else c: v for c, v in r.items()} for r in rows])
    with pytest.raises(BadInput) as caught:
        benchmark_tasks(read_benchmarks(("boolq",)), paths, 0)
    assert str(caught.value) == (
        f"benchmark boolq: the rows of {tmp_path / 'validation.parquet'} lack the field passage that lm-eval's task boolq reads. "
        "Found: question, 'Passage ', idx, label. Rename 'Passage ' to 'passage'"
    )


def test_rows_whose_choices_are_all_alike_are_counted_and_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real data has a few."""
    paths = put(tmp_path, "piqa", {n: {"sol1": "the same", "sol2": "the same"} for n in (1, 4)})
    assert len(benchmark_tasks(read_benchmarks(("piqa",)), paths, 0)["piqa"].eval_docs) == 6
    assert capsys.readouterr().err == (
        f"benchmark piqa: 2 of the 6 rows of {tmp_path / 'validation.parquet'} have choices that are all the same text: "
        "they stay in, and no model can tell them apart\n"
    )


def test_nothing_is_prepared_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` neither reads a path nor writes its cache, HellaSwag's rewriting included."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets, "load_dataset", None)
    paths = put(tmp_path / "$a[1]::b", "hellaswag", {})
    task = benchmark_tasks(read_benchmarks(("hellaswag",)), paths, 1)["hellaswag"]
    assert len(task.eval_docs) == len(task.training_docs()) == 6 and not (tmp_path / "cache").exists()


def test_the_door_looks_only_at_what_is_read(tmp_path: Path) -> None:
    """A run that only has to be scored is not stopped by its train rows."""
    paths = put(tmp_path, "boolq", {2: {"label": 7}}, split="train")
    sizes = ("data.train_size=1", "data.tune_size=1", "data.report_size=1", "data.decontaminate=[]", "recipe.steps=9")
    one = load(compose(["model=tinyllama", "suite=commonsense6_made_up", "suite.benchmarks=[boolq]", "data=made_up",
                        "data.benchmarks=[boolq]", *sizes]))  # fmt: skip
    check(one, paths, training=False)
    with pytest.raises(BadInput, match="row 3: label is 7"):
        check(one, paths)
