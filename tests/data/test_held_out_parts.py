"""Which rows of data of one's own are held out: by their number, a share, a file, a split or a column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from olora_bench.assets import check, fetch, resolve
from olora_bench.config import Experiment, compose, load
from olora_bench.data.selection import select
from olora_bench.errors import BadInput
from olora_bench.identity import train_identity

QUIET = ("model=tiny_tinyllama", "suite=none", "tracker=none", "rank=4", "precision=fp32", "data=file")
WORDS = {"train": "Training", "tune": " dev ", "report": "test"}


def stored(place: Path, start: int, count: int, **more: str) -> Path:
    rows = [
        {"instruction": f"What is {n} times {n}, said {n}?", "output": f"It is {n * n} or so, {n}.", **more}
        for n in range(start, start + count)
    ]
    with place.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return place


def asked(file: Path, tmp_path: Path, *overrides: str) -> Experiment:
    return load(compose([*QUIET, f"data.path={file}", f"machine.cache_dir={tmp_path / 'cache'}", *overrides]))


def parts(one: Experiment) -> Mapping[str, set[int]]:
    """The numbers in the rows of each part."""
    assets = resolve(one)
    check(one, assets)
    found = select(one.data, one.benchmarks, fetch(one, assets)).items
    return {part: {int(item.query.split()[2]) for item in items} for part, items in found.items()}


def sizes(one: Experiment) -> list[int]:
    found = parts(one)
    assert not set.intersection(found["train"], found["tune"], found["report"])
    return [len(found[part]) for part in ("train", "tune", "report")]


def test_without_a_word_twenty_rows_are_held_out_for_each_part(tmp_path: Path) -> None:
    one = asked(stored(tmp_path / "rows.jsonl", 0, 100), tmp_path)
    assert sizes(one) == [60, 20, 20]


def test_a_share_is_of_all_rows_and_a_size_takes_only_so_many(tmp_path: Path) -> None:
    file = stored(tmp_path / "rows.jsonl", 0, 100)
    assert sizes(asked(file, tmp_path, "data.tune_share=0.1", "data.report_share=0.25")) == [65, 10, 25]
    assert sizes(asked(file, tmp_path, "data.tune_share=0.1", "data.report_share=0.25", "data.report_size=5")) == [85, 10, 5]
    assert sizes(asked(file, tmp_path, "data.report_share=0.5")) == [30, 20, 50]


def test_files_of_their_own_are_held_out_whole(tmp_path: Path) -> None:
    train, tune, report = (stored(tmp_path / f"{n}.jsonl", n, count) for n, count in ((0, 50), (100, 7), (200, 9)))
    found = parts(asked(train, tmp_path, f"data.tune_path={tune}", f"data.report_path={report}"))
    assert found == {"train": set(range(50)), "tune": set(range(100, 107)), "report": set(range(200, 209))}


def test_one_file_of_its_own_leaves_the_other_part_to_be_drawn(tmp_path: Path) -> None:
    train, report = stored(tmp_path / "a.jsonl", 0, 50), stored(tmp_path / "b.jsonl", 200, 9)
    found = parts(asked(train, tmp_path, f"data.report_path={report}", "data.tune_size=5"))
    assert found["report"] == set(range(200, 209)) and len(found["tune"]) == 5 and len(found["train"]) == 45


def test_a_column_says_each_rows_part(tmp_path: Path) -> None:
    """In the words that people use, in any case."""
    file = tmp_path / "rows.jsonl"
    for number, (part, count) in enumerate((("train", 40), ("tune", 6), ("report", 8))):
        stored(file, 100 * number, count, fold=WORDS[part])
    found = parts(asked(file, tmp_path, "data.split_column=fold"))
    assert found == {"train": set(range(40)), "tune": set(range(100, 106)), "report": set(range(200, 208))}


def test_rows_of_a_held_out_file_that_are_trained_on_too_are_taken_out_of_training(tmp_path: Path) -> None:
    train, tune = stored(tmp_path / "a.jsonl", 0, 60), stored(tmp_path / "b.jsonl", 0, 10)
    found = parts(asked(train, tmp_path, f"data.tune_path={tune}"))
    assert not found["train"] & found["tune"] and not found["train"] & found["report"]


def test_what_is_held_out_is_part_of_what_a_run_is_and_no_path_is(tmp_path: Path) -> None:
    def identity(one: Experiment) -> object:
        return train_identity(one, {key: asset.identity for key, asset in resolve(one).items()})

    train, tune = stored(tmp_path / "a.jsonl", 0, 60), stored(tmp_path / "b.jsonl", 100, 10)
    moved = stored(tmp_path / "c.jsonl", 100, 10)
    plain, own = asked(train, tmp_path), asked(train, tmp_path, f"data.tune_path={tune}")
    assert identity(own) == identity(asked(train, tmp_path, f"data.tune_path={moved}"))
    assert identity(plain) == identity(asked(train, tmp_path, "data.tune_size=20"))
    others = [own, asked(train, tmp_path, f"data.report_path={tune}"), asked(train, tmp_path, "data.tune_share=0.5"), asked(tune, tmp_path)]
    assert len({json.dumps(identity(one)) for one in [plain, *others]}) == 5
    assert str(tmp_path) not in json.dumps(own.published()["data"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.tune_path=x.jsonl", "data.tune_share=0.1", "data.path=y.jsonl"],
            "data.tune_path=x.jsonl and data.tune_share=0.1 both say what the tune part is. Give one of them",
        ),
        (
            ["data.split_column=fold", "data.report_share=0.1"],
            "data.split_column=fold and data.report_share=0.1 both say what the report part is. Give one of them",
        ),
        (
            ["data.report_path=x.jsonl"],
            "data.report_path=x.jsonl stands beside no data.path. Name the file to train on too: data.path=FILE",
        ),
        (
            ["data=made_up", "data.tune_share=0.1"],
            "data.tune_share=0.1 is for a file of rows, and data=made_up mixes benchmarks, which have splits. Leave it out",
        ),
        (
            ["data=made_up", "data.tune_size=null"],
            "data.tune_size is null for data=made_up, which mixes benchmarks: give a whole number from 1 on",
        ),
        (
            ["data.rows=made_up", "data.split_column=fold"],
            "data.split_column=fold stands beside data.rows=made_up, whose rows have none. Leave it out",
        ),
        (
            ["data.tune_share=0.5", "data.report_share=0.5"],
            "data.tune_share=0.5 and data.report_share=0.5 leave nothing to train on. Lower them",
        ),
        (
            ["data.tune_split=validation", "data.tune_share=0.1"],
            "data.tune_share=0.1 and data.tune_split=validation both say what the tune part is. Give one of them",
        ),
        (
            ["data.tune_split=test", "data.report_split=test"],
            "data.tune_split=test and data.report_split=test are one split. Give each its own",
        ),
        (
            ["data.rows=made_up", "data.report_split=test"],
            "data.report_split=test stands beside data.rows=made_up, whose rows have none. Leave it out",
        ),
        (["data.tune_split=train"], "data.tune_split='train' is not allowed: input should be 'validation' or 'test'"),
        (["data.tune_share=1.5"], "data.tune_share=1.5 is not allowed: input should be less than 1"),
        (["data.report_share=0"], "data.report_share=0 is not allowed: input should be greater than 0"),
    ],
)
def test_what_says_a_part_twice_or_not_at_all_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(compose([*QUIET, *overrides]))
    assert str(caught.value) == message


def splits(folder: Path) -> Path:
    """A data set in Hub layout, with splits of its own."""
    folder.mkdir(parents=True)
    for number, (name, count) in enumerate((("train-00000-of-00001", 40), ("validation-00000-of-00001", 6), ("test-00000-of-00001", 8))):
        stored(folder / f"{name}.jsonl", 100 * number, count)
    return folder


BOTH = ("data.tune_split=validation", "data.report_split=test")
THEIRS = {"train": set(range(40)), "tune": set(range(100, 106)), "report": set(range(200, 208))}


def test_splits_of_a_folder_are_parts(tmp_path: Path) -> None:
    """One that is named, or one below machine.local_dir; a split that is not named is not read."""
    named = splits(tmp_path / "rows")
    assert parts(asked(named, tmp_path, *BOTH)) == THEIRS
    splits(tmp_path / "mine" / "file" / "data")
    local = load(compose([*QUIET, f"machine.local_dir={tmp_path / 'mine'}", f"machine.cache_dir={tmp_path / 'cache'}", *BOTH]))
    assert parts(local) == THEIRS
    found = parts(asked(named, tmp_path, "data.report_split=validation", "data.tune_size=4"))
    assert found["report"] == THEIRS["tune"] and len(found["tune"]) == 4 and found["train"] | found["tune"] == THEIRS["train"]
    assert sizes(asked(named, tmp_path, *BOTH, "data.report_size=3")) == [40, 6, 3]


def test_which_split_is_which_part_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    named = splits(tmp_path / "rows")
    one, other = asked(named, tmp_path, *BOTH), asked(named, tmp_path, "data.tune_split=test", "data.report_split=validation")
    assert train_identity(one, {f"data:{one.data.name}": "x", "model:tiny_tinyllama": "y"}) != train_identity(
        other, {f"data:{one.data.name}": "x", "model:tiny_tinyllama": "y"}
    )
    assert parts(other)["tune"] == THEIRS["report"]


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    named = splits(tmp_path / "rows")
    (named / "test-00000-of-00001.jsonl").unlink()
    assert refused(asked(named, tmp_path, *BOTH)) == f"data.path={named}: no file of rows in it is of the test split. Name the file"
    file = stored(tmp_path / "rows.jsonl", 0, 50)
    assert refused(asked(file, tmp_path, *BOTH)) == (
        f"data.path={file} is one file, and validation and test are splits of a folder. Name the folder, or the other files: "
        "data.tune_path=FILE data.report_path=FILE"
    )


def refused(one: Experiment) -> str:
    with pytest.raises(BadInput) as caught:
        parts(one)
    return str(caught.value)


def test_a_column_that_names_no_part_is_refused_with_its_row(tmp_path: Path) -> None:
    file = stored(stored(tmp_path / "rows.jsonl", 0, 3, fold="train"), 3, 1, fold="holdout")
    allowed = "train: train, training; tune: tune, validation, valid, val, dev; report: report, test, testing, eval, evaluation"
    assert refused(asked(file, tmp_path, "data.split_column=fold")) == (
        f"{file}, row 4: fold is 'holdout', which names no part. Allowed: {allowed}. Correct the row, or take it out"
    )
    assert refused(asked(file, tmp_path, "data.split_column=Fold")) == (
        f"{file} has no column Fold, which data.split_column names. Found: instruction, output, fold. Rename 'fold' to 'Fold'"
    )
    some = stored(tmp_path / "some.jsonl", 0, 3, fold="train")
    assert refused(asked(some, tmp_path, "data.split_column=fold")) == (
        f"{some}: fold says tune and report of no row. Say it of some, or leave data.split_column out"
    )


def test_a_part_that_is_smaller_than_asked_is_refused(tmp_path: Path) -> None:
    train, tune = stored(tmp_path / "a.jsonl", 0, 60), stored(tmp_path / "b.jsonl", 100, 10)
    assert refused(asked(train, tmp_path, f"data.tune_path={tune}", "data.tune_size=11")) == (
        "data.tune_size=11 is more than the 10 rows of its tune part. Lower it, or set null"
    )
    assert refused(asked(train, tmp_path, f"data.tune_path={tmp_path / 'none.jsonl'}")) == (
        f"data.tune_path={tmp_path}/none.jsonl: there is no {tmp_path}/none.jsonl. "
        "Name a file of rows (.parquet, .jsonl, .json, .csv, .tsv) or a folder with one"
    )
