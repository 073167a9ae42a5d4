"""A file of one's own: named on the command line, its columns mapped, its prompt a template, and looked at before any training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from olora_bench.assets import check, fetch, resolve
from olora_bench.assets.rows import read_parquet
from olora_bench.config import Experiment, compose, load, own_inits
from olora_bench.data.__main__ import main
from olora_bench.errors import BadInput
from olora_bench.identity import train_identity

QUIET = ("model=tiny_tinyllama", "suite=none", "tracker=none", "rank=4", "precision=fp32")
ROWS = [{"question": f"What is {n} times {n + 1}, please?", "answer": f"It is {n * (n + 1)}.", "topic": "sums", "n": n} for n in range(60)]
TEMPLATE = "data.prompt_template='Topic: {topic}. {question} {{A}} '"


def written(place: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    table = pd.DataFrame(rows)
    if place.suffix == ".parquet":
        table.to_parquet(place)
    elif place.suffix == ".csv":
        table.to_csv(place, index=False)
    else:
        table.to_json(place, orient="records", lines=True)
    return place


def asked(path: Path, cache_dir: Path, *overrides: str) -> Experiment:
    columns = overrides or ("data.prompt=question", "data.response=answer")
    return load(compose([*QUIET, "data=file", f"data.path={path}", f"machine.cache_dir={cache_dir}", *columns]))


def table(experiment: Experiment) -> list[dict[str, str]]:
    assets = resolve(experiment)
    check(experiment, assets)
    return list(read_parquet(fetch(experiment, assets)["data:file"] / "train.parquet").to_pylist())


def refused(path: Path, cache_dir: Path, *overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        table(asked(path, cache_dir, *overrides))
    return str(caught.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows, (1).csv", "test.parquet"])
def test_a_named_file_is_trained_on_whatever_its_name_and_format(name: str, tmp_path: Path) -> None:
    found = table(asked(written(tmp_path / name), tmp_path / "cache"))
    assert [(row["instruction"], row["input"], row["output"]) for row in found] == [(r["question"], "", r["answer"]) for r in ROWS]


def test_a_template_is_filled_with_the_columns_of_a_row(tmp_path: Path) -> None:
    """And two braces are one."""
    found = table(asked(written(tmp_path / "rows.jsonl"), tmp_path / "cache", TEMPLATE, "data.response=answer"))
    assert found[3]["instruction"] == "Topic: sums. What is 3 times 4, please? {A} "


def test_an_input_that_is_null_is_empty_in_a_template(tmp_path: Path) -> None:
    """As it is without one; the word None is trained on by nobody."""
    file = written(tmp_path / "rows.jsonl", [{"input": "x" if n else None, "output": f"It is {n}."} for n in range(60)])
    found = table(asked(file, tmp_path / "cache", "data.prompt_template='Given: {input}.'"))
    assert [row["instruction"] for row in found[:2]] == ["Given: .", "Given: x."]


def test_columns_and_template_are_part_of_what_a_run_is_and_the_path_is_not(tmp_path: Path) -> None:
    first, moved = written(tmp_path / "rows.jsonl"), written(tmp_path / "again.jsonl")
    plain = asked(first, tmp_path / "cache")

    def identity(one: Experiment) -> Any:
        return train_identity(one, {key: asset.identity for key, asset in resolve(one).items()})

    assert identity(plain) == identity(asked(moved, tmp_path / "cache"))
    assert identity(plain) != identity(asked(first, tmp_path / "cache", TEMPLATE, "data.response=answer"))
    assert str(tmp_path) not in json.dumps(plain.published()["data"])


def test_another_template_is_read_again_and_not_from_the_cache(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl")
    first, second = (
        table(asked(file, tmp_path / "cache", f"data.prompt_template='{text}'", "data.response=answer"))
        for text in ("Q {question}", "{topic} ")
    )
    assert (first[0]["instruction"], second[0]["instruction"]) == ("Q What is 0 times 1, please?", "sums ")


def test_what_the_columns_lack_is_said_in_the_files_own_names(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl")
    assert refused(file, tmp_path / "cache", "data.prompt=Question", "data.response=answer") == (
        f"{file} has no column Question, named by data.prompt. Found: question, answer, topic, n. Rename 'question' to 'Question'"
    )
    assert refused(file, tmp_path / "cache", "data.prompt=n", "data.response=answer") == (
        f"{file}, row 1: n is 0, which is no text (the column is of type int64). Allowed: text. Correct the row, or take it out"
    )
    blank = written(tmp_path / "blank.jsonl", [*ROWS, {**ROWS[0], "answer": None}])
    assert refused(blank, tmp_path / "cache") == (
        f"{blank}, row 61: answer is null, which is missing. Allowed: text. Correct the row, or take it out"
    )


def test_a_column_that_is_a_default_is_said_with_the_key_that_names_another(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl")
    assert refused(file, tmp_path / "cache", "data.prompt=question") == (
        f"{file} has no column output, the default of data.response. Found: question, answer, topic, n. Name it: data.response=COLUMN"
    )


def test_files_of_splits_that_no_part_takes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        written(folder / f"{split}.jsonl")
    resolve(asked(folder, tmp_path / "cache"))
    text = "".join(capsys.readouterr())
    said = f"data.path={folder}: not used: test.jsonl, validation.jsonl. To use them: data.tune_split=validation data.report_split=test"
    assert said in text
    resolve(asked(folder, tmp_path / "cache", "data.tune_split=validation", "data.report_split=test"))
    assert "not used" not in "".join(capsys.readouterr())


def test_a_file_in_place_of_a_presets_repository_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the order of sources."""
    file = tmp_path / "mine.jsonl"
    written(file, [{"instruction": f"What is {n}?", "output": f"It is {n}."} for n in range(1200)])
    found = resolve(load(compose([*QUIET, "data=alpaca", "data.decontaminate=[]", f"data.path={file}", "assets=[hub,local]"])))
    assert found["data:alpaca"].source == "local"
    assert capsys.readouterr().err == f"data.path={file} is trained on, and not data.hub=tatsu-lab/alpaca of data=alpaca\n"


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    endings = ".parquet, .jsonl, .json, .csv, .tsv"
    assert refused(tmp_path / "x.jsonl", tmp_path / "cache") == (
        f"data.path={tmp_path}/x.jsonl: there is no {tmp_path}/x.jsonl. Name a file of rows ({endings}) or a folder with one"
    )
    (tmp_path / "rows.xlsx").touch()
    assert refused(tmp_path / "rows.xlsx", tmp_path / "cache") == (f"{tmp_path}/rows.xlsx is no file of rows. Allowed endings: {endings}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.prompt_template='{question.x}'"],
            "data.prompt_template: {question.x} is no column's name alone. Allowed: text with names of columns in braces, e.g. "
            "'Q: {question}'; write {{ for a brace",
        ),
        (
            ["data.prompt_template='{question'"],
            "data.prompt_template: expected '}' before end of string. Allowed: text with names of columns in braces, e.g. "
            "'Q: {question}'; write {{ for a brace",
        ),
        (
            ["data.prompt_template='{question}'", "data.prompt=question"],
            "data.prompt_template stands beside data.prompt=question and data.template=plain, and is the whole prompt. "
            "Set data.prompt=null data.template=plain",
        ),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(compose([*QUIET, "data=file", *overrides]))
    assert str(caught.value) == message


def test_without_a_file_it_is_said_how_to_name_one() -> None:
    with pytest.raises(BadInput) as caught:
        resolve(load(compose([*QUIET, "data=file"])))
    assert "    brings it: give it with data.path=FILE, or put it at <machine.local_dir>/file/<split>.parquet" in str(caught.value)


def test_examples_are_shown_with_what_the_loss_is_read_on(tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five, as tokens make them, end of text included; and what each part holds. Nothing is trained."""
    file = written(tmp_path / "rows.jsonl")
    own = ["data=file", f"data.path={file}", TEMPLATE, "data.response=answer", f"machine.cache_dir={cache_dir}"]
    assert main(["show", *QUIET[:1], "rank=4", *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("--- ")]) == 5
    number = int(lines[0].split(":")[0].removeprefix("--- train-"))
    answer = f" It is {number * (number + 1)}.</s>"
    assert lines[0] == f"--- train-{number}: {len(lines[1]) - 4 - len('<s></s>') + 2} tokens, {len(answer) - 3} of them supervised"
    assert lines[1] == f"<s>Topic: sums. What is {number} times {number + 1}, please? {{A}}[[{answer}]]"
    assert [line.partition(",")[0] for line in lines[-4:-1]] == ["train: 20 examples", "tune: 20 examples", "report: 20 examples"]
    assert lines[-1] == "rows: 60 = 60 examples + 0 left out"


def test_rows_that_are_left_out_are_counted_with_the_reason(tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """60 rows: five held-out ones again, one nearly (its answer is another), one cut off before its answer; and 13 that nobody asks for."""
    parts = [*["report"] * 20, *["dev"] * 10, *["train"] * 30]
    rows = [{**row, "part": part} for row, part in zip(ROWS, parts, strict=True)]
    rows[30:35] = [{**rows[n], "part": "train"} for n in range(5)]
    long = "Which of the very many numbers that are made of nine and of eight is the largest, then?"
    rows[5], rows[36] = {**rows[5], "question": long}, {**rows[36], "question": long}
    rows[40]["question"] = "Say " + "no, " * 80 + "please"
    own = ["data=file", f"data.path={written(tmp_path / 'rows.jsonl', rows)}", "data.prompt=question", "data.response=answer"]
    more = ["data.split_column=part", "data.report_size=7", "data.train_size=null", f"machine.cache_dir={cache_dir}"]
    assert main(["show", *QUIET[:1], *own, *more]) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    found = re.fullmatch(r"train: (\d+) examples, .*; left out: (\d+) word for word .*, (\d+) nearly one, 1 with nothing left .*", lines[0])
    assert found is not None, lines[0]
    kept, exact, near = map(int, found.groups())
    assert kept + exact + near + 1 == 30
    assert lines[-1] == f"rows: 60 = {kept + 17} examples + {exact + near + 1} left out + 13 that no part asks for"


@pytest.mark.parametrize(
    ("columns", "typed"),
    [
        (("prompt", "response"), ". Say which are prompt and answer: data.prompt=prompt data.response=response"),
        (("id", "Question", "target"), ". Say which are prompt and answer: data.prompt=Question data.response=target"),
        (("the text", "answer"), ". Say which are prompt and answer: data.prompt=COLUMN data.response=COLUMN"),
        (("conversations", "id"), ". A column of turns: data=chat data.messages=conversations"),
        (("messages",), ". A column of turns: data=chat"),
    ],
)
def test_a_file_with_other_columns_is_told_what_to_type(
    columns: tuple[str, ...], typed: str, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "rows.jsonl", [dict.fromkeys(columns, "a b")] * 60)
    assert main(["show", QUIET[0], "data=file", f"data.path={file}", f"machine.cache_dir={cache_dir}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{file} has no column instruction, output. Needed: instruction, output; input may be absent. Found: {', '.join(columns)}{typed}"
    )


def test_a_file_that_is_named_is_train_whatever_its_name_says(tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl")
    own = ["data=file", f"data.path={file}", "data.prompt=question", "data.response=answer", f"machine.cache_dir={cache_dir}"]
    assert main(["show", QUIET[0], *own]) == 0
    assert f"assets: data:file: train is {file}\n" in capsys.readouterr().err


def test_a_description_in_ones_own_folder_is_shown(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/adding.md has it: a template of several lines, and `file` for all that it does not say."""
    monkeypatch.setattr(own_inits, "_FOLDERS", [])
    (tmp_path / "data").mkdir()
    text = "prompt_template: |-\n  Question: {question}\n  Answer:\n"
    described = f"defaults: [file, _self_]\nname: my_data\npath: {written(tmp_path / 'rows.jsonl')}\nresponse: answer\n{text}"
    (tmp_path / "data" / "my_data.yaml").write_text(described)
    own = ["--config-dir", str(tmp_path), "data=my_data", f"machine.cache_dir={cache_dir}"]
    assert main(["show", "model=tiny_tinyllama", "rank=4", *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("<s>Question: What is ") and lines[2].startswith("Answer:[[It is ")


def test_show_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "data=nothing"]) == 2
    assert capsys.readouterr().err.startswith("data=nothing is unknown. Allowed: ")
