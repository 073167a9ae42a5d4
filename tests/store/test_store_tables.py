"""Curve and items: checked columns, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_samples import EVAL, RUN, curve, eval_record, examples, items, run_record

from olora_bench.errors import RecordError
from olora_bench.store import Part, Store
from olora_bench.store.parquet import schema


def write(root: Path, frame: pd.DataFrame) -> Path:
    """A run with this curve; the curve's file."""
    store = Store(root)
    store.write_run(run_record(parts={"curve": store.write_curve(RUN, frame)}))
    return root / "runs" / RUN / "curve.parquet"


def test_a_curve_comes_back(tmp_path: Path) -> None:
    """Values to the last bit, integers as integers, nulls as NaN; the order of the columns given does not matter."""
    write(tmp_path, curve()[curve().columns[::-1]])
    back = Store(tmp_path).read_curve(RUN)
    assert back is not None
    pd.testing.assert_frame_equal(back, curve())


def test_no_curve_yet(tmp_path: Path) -> None:
    """A run without a curve has None."""
    assert Store(tmp_path).read_curve(RUN) is None


def test_items_come_back(tmp_path: Path) -> None:
    """Lists keep their values and order; NumPy arrays and lists are both taken."""
    store, frame = Store(tmp_path), items()
    frame["loglikelihoods"] = [np.array(v, dtype=np.float32) for v in frame["loglikelihoods"]]
    store.write_eval(eval_record(), frame)
    back = store.read_items(RUN, None, EVAL)
    assert back is not None
    assert [list(v) for v in back["loglikelihoods"]] == [[-1.0, -2.0], [-8.0, -6.0]]
    assert [list(v) for v in back["lengths"]] == [[10, 11], [12, 5]]
    assert list(back["item_id"]) == ["0", "7"]
    assert back["correct_norm"].dtype == bool


def test_losses_by_example_come_back_to_the_last_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(run_record(parts={"examples": store.write_examples(RUN, examples())}))
    back = store.run_beside(RUN)[1].table("examples")
    assert back is not None
    pd.testing.assert_frame_equal(back.to_pandas(), examples(), check_exact=True)


def test_an_older_record_names_no_losses_by_example(tmp_path: Path) -> None:
    Store(tmp_path).write_run(run_record())
    assert Store(tmp_path).run_beside(RUN)[1].table("examples") is None


def test_readable_with_plain_pyarrow(tmp_path: Path) -> None:
    """The file is ordinary Parquet, compressed with zstd."""
    path = write(tmp_path, curve())
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table(path)["train_loss"].to_pylist() == [2.0, 1.5]
    assert pq.read_table(path)["tune_loss"].to_pylist() == [None, 1.4]


def test_an_empty_curve(tmp_path: Path) -> None:
    """A run that diverged before its first step may have no rows."""
    write(tmp_path, curve().iloc[:0])
    back = Store(tmp_path).read_curve(RUN)
    assert back is not None and len(back) == 0 and list(back.columns) == schema("curve").names


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (curve().drop(columns=["lr", "step"]), "missing column step, lr"),
        (
            curve().assign(loss=1.0),
            "unknown column loss. Allowed: step, tokens, wall_s, train_loss, tune_loss, report_loss, lr, grad_norm",
        ),
        (curve().assign(step=[None, 2.0]), "column step has 1 null of 2: give every value"),
        (curve().assign(wall_s=["a", "b"]), "column wall_s must be double: "),
        (curve().assign(step=[0.5, 1.0]), "column step must be int64: "),
    ],
)
def test_a_bad_curve_is_not_written(tmp_path: Path, frame: pd.DataFrame, problem: str) -> None:
    """The message names the file and the column; nothing is written."""
    path = tmp_path / "runs" / RUN / "curve.parquet"
    with pytest.raises(RecordError) as caught:
        Store(tmp_path).write_curve(RUN, frame)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"lengths": [[10], [12, 5]]},
            "column lengths: an item has not as many lengths as loglikelihoods: give one of each for every choice",
        ),
        ({"item_id": ["0", "0"]}, "column item_id: 1 items appear twice in their benchmark: give each item one row"),
        ({"benchmark": ["piqa", "boolq"]}, "scores.piqa.items=2, but there are 1 rows of piqa"),
    ],
)
def test_bad_items_are_not_written(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    """Neither the items nor the record."""
    folder = tmp_path / "runs" / RUN / "evals" / EVAL
    with pytest.raises(RecordError) as caught:
        Store(tmp_path).write_eval(eval_record(), items().assign(**change))
    assert str(caught.value) == f"{folder / 'items.parquet'}: {problem}"
    assert list(tmp_path.iterdir()) == []


def written(table: pa.Table, tmp_path: Path) -> str:
    """What reading `table` as a curve says, after the file's name."""
    path = tmp_path / "runs" / RUN / "curve.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    Store(tmp_path).write_run(run_record(parts={"curve": Part.of("curve.parquet", path.read_bytes())}))
    with pytest.raises(RecordError) as caught:
        Store(tmp_path).read_curve(RUN)
    return str(caught.value).removeprefix(f"{path}: ")


def versioned(text: str) -> pa.Table:
    return pa.Table.from_pandas(curve(), preserve_index=False).replace_schema_metadata({"olora_bench.schema": text})


def test_a_foreign_table(tmp_path: Path) -> None:
    """Another program's Parquet is not taken for a curve."""
    assert written(pa.table({"step": [1]}), tmp_path) == (
        "not a table of olora_bench (no schema version in its metadata). Move it away; nothing of olora_bench is lost by that"
    )


def test_a_newer_table(tmp_path: Path) -> None:
    """Tables carry the schema's version, as records do."""
    assert written(versioned("2"), tmp_path) == "written by a newer olora_bench (schema 2, this one reads 1): upgrade olora_bench"


def test_an_older_table(tmp_path: Path) -> None:
    """An earlier schema is not guessed at."""
    assert written(versioned("0"), tmp_path).startswith("written by an older olora_bench (schema 0, this one reads 1): ")


def test_a_column_of_another_type(tmp_path: Path) -> None:
    """Types are checked on reading too."""
    table = versioned("1")
    assert written(table.set_column(0, "step", pa.array([1.0, 2.0])), tmp_path) == "column step must be int64, it is double"


def test_a_truncated_table(tmp_path: Path) -> None:
    """A cut file is found, also where its record names it by these very bytes."""
    path = write(tmp_path, curve())
    cut = path.read_bytes()[:-20]
    path.write_bytes(cut)
    for what in ("damaged: its SHA-256 is ", "truncated or no Parquet file. "):
        with pytest.raises(RecordError) as caught:
            Store(tmp_path).read_curve(RUN)
        assert str(caught.value).startswith(f"{path}: {what}")
        assert str(caught.value).endswith("python -m olora_bench.study retry STUDY, or move it away and run again")
        Store(tmp_path).write_run(run_record(parts={"curve": Part.of("curve.parquet", cut)}))


def test_a_curve_that_is_gone(tmp_path: Path) -> None:
    """A record names its parts, so that an absent one is noticed."""
    path = write(tmp_path, curve())
    path.unlink()
    with pytest.raises(RecordError, match=r"curve\.parquet: gone, though the record beside it names it"):
        Store(tmp_path).read_curve(RUN)
