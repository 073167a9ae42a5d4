"""Bad rows stop a run at the door: exit code 2, no model loaded, no record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from olora_bench.config.compose import compose as composed
from olora_bench.config.compose import load
from olora_bench.errors import BadInput
from olora_bench.run import compute
from olora_bench.run.experiment import run


@pytest.mark.parametrize(
    ("row", "message"),
    [({"instruction": "a", "output": None}, "row 9: output is null"), ({"instruction": "a", "input": "b"}, "row 9: output is null")],
)
def test_a_bad_row_stops_the_run_before_the_model(
    machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, str | None], message: str
) -> None:
    """The message names file and row; neither a base was loaded nor a record is left."""
    monkeypatch.setattr(compute, "worker_base", None)
    (tmp_path / "alpaca").mkdir()
    rows = [{"instruction": f"Say {n}", "input": "", "output": f"{n}"} for n in range(8)]
    (tmp_path / "alpaca" / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*rows, row]))
    own = [
        "data=alpaca",
        "data.decontaminate=[]",
        "data.train_size=2",
        "data.tune_size=2",
        "data.report_size=2",
        "assets=[local]",
        "recipe.steps=9",
    ]
    one = load(composed(["model=tiny_tinyllama", "rank=4", "suite=none", "tracker=none", *machine, f"machine.local_dir={tmp_path}", *own]))
    with pytest.raises(BadInput) as caught:
        run(one)
    assert str(caught.value).startswith(f"{tmp_path / 'alpaca' / 'train.jsonl'}, {message}")
    assert not list((tmp_path / "results").rglob("record.json"))


def test_too_few_rows_stop_the_run_before_the_model(machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As do sizes that the rows cannot fill."""
    monkeypatch.setattr(compute, "worker_base", None)
    made_up = ["data=made_up", "suite=none", "data.train_size=5000"]
    one = load(composed(["model=tiny_tinyllama", "rank=4", "tracker=none", *machine, *made_up]))
    with pytest.raises(BadInput, match=r"data\.train_size=5000 and data\.tune_size=16 need 5016 items"):
        run(one)
    assert not list((tmp_path / "results").rglob("record.json"))


def test_a_base_that_cannot_be_loaded_leaves_no_record(machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is to blame, and not the run, which starts as it is once the folder is right."""

    def refused(*_: object) -> None:
        raise BadInput("not this model")

    monkeypatch.setattr(compute, "worker_base", refused)
    one = load(composed(["model=tiny_tinyllama", "rank=4", "suite=none", "tracker=none", "data=made_up", *machine]))
    with pytest.raises(BadInput, match=r"^not this model$"):
        run(one)
    assert not list((tmp_path / "results").rglob("record.json"))
