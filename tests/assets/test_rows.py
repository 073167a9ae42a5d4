"""Files of rows: the formats as they are defined, and what is wrong with a file named by file, row, column and value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olora_bench.assets import layout
from olora_bench.assets.columns import INSTRUCTION_COLUMNS, instructions, whole_numbers
from olora_bench.assets.rows import place, read_parquet, read_rows
from olora_bench.errors import BadInput

ROWS = [{"instruction": f"Name the {n}th.", "input": "", "output": f'It, is\n\u2028 "{n}" \x85é'} for n in range(50)]
FORMATS = ("parquet", "jsonl", "json", "csv", "tsv")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format that the name says, by somebody else's writer."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".json"):
        pd.DataFrame(rows).to_json(path, orient="records", lines=path.suffix == ".jsonl", force_ascii=False)
    else:
        pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path: Path) -> pa.Table:
    return instructions(read_rows([path], INSTRUCTION_COLUMNS), path)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_rows_that_were_written(tmp_path: Path, ending: str) -> None:
    """Quotes, ends of lines and separators inside a cell are data."""
    assert read(write(tmp_path / f"train.{ending}", ROWS)).to_pylist() == ROWS


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("folder", ["a=1", "[12]", "x::y", "$HOME", "what?", "two words", "é*", "s3:", "%20"])
def test_a_path_is_only_a_path(tmp_path: Path, folder: str, ending: str) -> None:
    """No letter of a path adds a column or leads to other rows."""
    assert read(write(tmp_path / folder / f"train.{ending}", ROWS[:2])).to_pylist() == ROWS[:2]


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\r\n", lambda t: t[:-1]])
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_a_mark_at_the_beginning_and_ends_of_lines_are_no_data(tmp_path: Path, ending: str, change: Callable[[str], str]) -> None:
    """A byte-order mark, Windows' line ends, empty last lines, no last line end."""
    rows = [{"instruction": f"Say {n}", "input": "", "output": f"{n}!"} for n in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    text = "instruction,input,output\n" + "".join(f"{r['instruction']},,{r['output']}\n" for r in rows) if ending == "csv" else lines
    (tmp_path / f"x.{ending}").write_bytes(change(text).encode())
    assert read(tmp_path / f"x.{ending}").to_pylist() == rows


def test_a_column_that_begins_late_is_kept(tmp_path: Path) -> None:
    """Absent in the first 40 rows, there in the 41st."""
    rows = [{"instruction": "a", "output": "b"}] * 40 + [{"instruction": "a", "output": "b", "input": "c"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(tmp_path / "x.jsonl")["input"].to_pylist() == [""] * 40 + ["c"]


@pytest.mark.parametrize("given", [None, "", " \t", "\u00a0"])
def test_an_input_of_nothing_is_empty(tmp_path: Path, given: str | None) -> None:
    """Null and blank, as Alpaca's own ''."""
    pq.write_table(pa.table({"instruction": ["a"], "input": pa.array([given], pa.string()), "output": ["b"]}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet").to_pylist() == [{"instruction": "a", "input": "", "output": "b"}]


def test_an_empty_output_is_taken_and_columns_of_categories_are_text(tmp_path: Path) -> None:
    """28 of Alpaca's outputs are empty; pandas writes categories."""
    pq.write_table(pa.table({"instruction": pa.array(["a", "a"]).dictionary_encode(), "output": ["", "b"]}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet")["output"].to_pylist() == ["", "b"]


FAULTS = [
    ({"output": None}, "output is null, which is missing. Allowed: text. Correct the row, or take it out"),
    ({"output": " \n"}, r"output is ' \n', which is blank. Allowed: text. Correct the row, or take it out"),
    ({"instruction": ""}, "instruction is '', which is empty. Allowed: text. Correct the row, or take it out"),
    ({"output": 7}, "output is 7, where most rows have text. Correct the row"),
    ({"input": ["a"]}, "input is ['a'], where most rows have text. Correct the row"),
    ({"instruction": True}, "instruction is True, where most rows have text. Correct the row"),
    ({"output": "\ud800"}, None),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_bad_cell_is_named(tmp_path: Path, change: dict[str, Any], message: str | None) -> None:
    """File, row (from 1), column and value, of the third row of eight."""
    rows = [row | (change if n == 2 else {}) for n, row in enumerate(ROWS[:8])]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = refused(lambda: read(tmp_path / "train.jsonl"))
    assert found.startswith(f"{tmp_path / 'train.jsonl'}, row 3: ")
    if message is not None:
        assert found == f"{tmp_path / 'train.jsonl'}, row 3: {message}"


TEXTS = [
    ("x.jsonl", b'{"a": 1}\n{"a": \n', "x.jsonl, line 2 cannot be read as JSON: Expecting value: line 1 column 7 (char 6)"),
    ("x.jsonl", b'{"a": 1}\n7\n', "x.jsonl, row 2 is 7. A row is an object that names its columns: {...}"),
    ("x.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', "x.jsonl, line 2: byte 0xe9 is no UTF-8. Save the file as UTF-8"),
    ("x.json", b'[{"a": 1}', "x.json cannot be read as JSON: Expecting ',' delimiter: line 1 column 10 (char 9)"),
    ("x.csv", b'a,b\n"1,2\n', "x.csv, line 2 cannot be read as CSV: unexpected end of data"),
    ("x.csv", b"a,a\n1,2\n", "x.csv: the header names 'a', 'a'. Give each column one name of its own"),
    ("x.csv", b"a,b\n1,2,3\n", None),
    ("x.csv", b"a;b\n1;2\n", "x.csv: the header is one cell, 'a;b', with ';' between its words. Cells of .csv are separated by a comma: "
     "save it with a comma as the separator"),
    ("x.tsv", b"a,b\n1,2\n", "x.tsv: the header is one cell, 'a,b', with ',' between its words. Cells of .tsv are separated by a tab: "
     "save it with a tab as the separator"),
    ("x.jsonl", b'{"a": 1}\n{"a": 2, "b": 3, "a": 2}\n',
     "x.jsonl, line 2: the key 'a' is there 2 times in one object. Keep one of them"),
    ("x.json", b' [{"a": 1},\n {"a": 2},{"b": {"c": 3, "c": 4}}]',
     "x.json, row 3: the key 'c' is there 2 times in one object. Keep one of them"),
    ("x.jsonl", b"\n", "x.jsonl: there are no rows"),
    ("x.csv", b"", "x.csv: there are no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), TEXTS)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes, message: str | None) -> None:
    """With the line where there is one."""
    (tmp_path / name).write_bytes(content)
    found = refused(lambda: read_rows([tmp_path / name]))
    assert (
        found == f"{tmp_path}/{message}" if message else found.startswith(f"{tmp_path / name}, row 1 has 3 cells, and the header names 2")
    )


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Instruction, output", "no column instruction, output. Needed: instruction, output; input may be absent. "
         "Found: Instruction, ' output'. Rename 'Instruction' to 'instruction', ' output' to 'output'"),
        ("instruction,output,Input", "no column input. Needed: instruction, output; input may be absent. "
         "Found: instruction, output, Input. Rename 'Input' to 'input'"),
    ],
)  # fmt: skip
def test_a_column_that_differs_in_case_or_spaces_is_to_be_renamed(tmp_path: Path, header: str, told: str) -> None:
    """An input of another case would be left out of every prompt in silence."""
    (tmp_path / "x.csv").write_text(f"{header}\n{','.join('abc'[: header.count(',') + 1])}\n")
    assert refused(lambda: read(tmp_path / "x.csv")) == f"{tmp_path / 'x.csv'} has {told}"


@pytest.mark.parametrize(("cell", "kind"), [("7", "int64"), ("7.5", "double"), ("true", "bool")])
def test_a_column_that_is_no_text_names_its_type(tmp_path: Path, cell: str, kind: str) -> None:
    """Beside the first value."""
    (tmp_path / "x.jsonl").write_text(f'{{"instruction": "a", "output": {cell}}}\n')
    assert refused(lambda: read(tmp_path / "x.jsonl")) == (
        f"{tmp_path / 'x.jsonl'}, row 1: output is {json.loads(cell)}, which is no text (the column is of type {kind}). "
        "Allowed: text. Correct the row, or take it out"
    )


def test_a_row_is_counted_in_its_own_shard_and_after_the_cache(tmp_path: Path) -> None:
    """What `place` says outlives the way through a Parquet file of another name."""
    files = [write(tmp_path / f"train-0000{n}-of-00002.jsonl", ROWS[: 3 + n]) for n in range(2)]
    pq.write_table(read_rows(files), tmp_path / "other.parquet")
    table = read_parquet(tmp_path / "other.parquet")
    assert place(table, tmp_path / "other.parquet", 4) == f"{files[1]}, row 2"
    assert place(pa.table({"a": [1]}), tmp_path / "other.parquet", 0) == f"{tmp_path / 'other.parquet'}, row 1"


def test_numbers_in_csv_are_numbers_where_the_benchmark_has_them(tmp_path: Path) -> None:
    """An empty cell is null, and anything else is named."""
    (tmp_path / "x.csv").write_text('goal,label\n7,1\n"8",\n')
    assert whole_numbers(read_rows([tmp_path / "x.csv"]), ["label"]).to_pylist() == [
        {"goal": "7", "label": 1},
        {"goal": "8", "label": None},
    ]
    (tmp_path / "x.csv").write_text("goal,label\n7,one\n")
    assert refused(lambda: whole_numbers(read_rows([tmp_path / "x.csv"]), ["label"])) == (
        f"{tmp_path / 'x.csv'}, row 1: label is 'one', which is no whole number. Allowed: whole numbers. Correct the row, or take it out"
    )


@pytest.mark.parametrize(
    ("names", "train"),
    [
        (["rows.jsonl"], ["rows.jsonl"]),
        (["rows.jsonl", "test.jsonl"], ["rows.jsonl"]),
        (["my-train.csv", "other.csv"], ["my-train.csv"]),
        (["train/0.parquet", "test/0.parquet"], ["train/0.parquet"]),
        ([".cache/train.jsonl", "._train.jsonl", "rows.json"], ["rows.json"]),
        (["r-00000-of-00002.parquet", "r-00001-of-00002.parquet"], ["r-00000-of-00002.parquet", "r-00001-of-00002.parquet"]),
        (["test.jsonl"], None),
        (["my_dev.jsonl", "held/eval.csv"], None),
        (["test/rows.jsonl"], None),
        (["train_and_test.jsonl"], None),
    ],
)
def test_train_is_taken_from_a_file_that_says_so_or_the_only_unnamed_one(names: list[str], train: list[str] | None) -> None:
    """Never from one whose name, or folder, says another split."""
    assert layout.pick(names, None, ["train"]).get("train") == train


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jsonl", "b.jsonl"], "none of a.jsonl, b.jsonl says its split, and only one of them can be taken for train: "
         "name the files to train on train*, or take the others away"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"],
         "1 of the 3 shards of the train split are missing (the first is number 1)"),
        (["train.csv", "train-00000-of-00001.csv"], "the train split is there more than once (train-00000-of-00001.csv, train.csv): "
         "keep one file, or one set of shards"),
        (["train.csv", "train.jsonl"], "the train split is there in several formats (train.csv, train.jsonl): "
         "keep one, they may be copies of the same rows"),
        (["alpaca_data.json", "seed_tasks.jsonl"], "none of alpaca_data.json, seed_tasks.jsonl says its split, and only one of them can be "
         "taken for train: name the files to train on train*, or take the others away"),
    ],
)  # fmt: skip
def test_files_that_leave_it_open_are_refused(names: list[str], message: str) -> None:
    """Several unnamed ones, a shard that is missing, a split that is there twice."""
    assert refused(lambda: layout.pick(names, None, ["train"])) == message


def test_another_configuration_is_not_taken(tmp_path: Path) -> None:
    """The files of ARC-Easy's folder are not those of ARC-Challenge."""
    assert layout.pick(["ARC-Easy/train.parquet"], "ARC-Challenge", ["train"]) == {}


def test_many_rows_cost_a_few_calls_and_no_call_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking instructions calls Arrow as often for 2,000 rows as for two."""
    from olora_bench.assets import columns as room

    calls: list[str] = []
    for name in ("is_null", "utf8_is_space", "equal", "index"):
        real = getattr(room.pc, name)
        monkeypatch.setattr(room.pc, name, lambda *a, _real=real, _name=name: calls.append(_name) or _real(*a))
    counts = []
    for size in (2, 2000):
        calls.clear()
        instructions(pa.table({c: ["x"] * size for c in INSTRUCTION_COLUMNS}), tmp_path)
        counts.append(len(calls))
    assert counts[0] == counts[1] < 20
