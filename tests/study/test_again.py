"""A recorded run done again: it agrees with itself, and what was tampered with is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from olora_bench.config import compose, load
from olora_bench.run.experiment import run
from olora_bench.store import sealed
from olora_bench.study.__main__ import main

TINY = [
    "model=tiny_tinyllama", "rank=4", "lr=1e-3", "precision=fp32", "data=made_up", "suite=commonsense6_made_up", "tracker=none",
    "recipe.steps=3", "recipe.loss_evaluations=1", "machine.threads=1",
]  # fmt: skip


def again(train_id: str, machine: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(["again", train_id, *(part for part in machine if not part.startswith("machine.threads"))])
    assert isinstance(left.value.code, int)
    return left.value.code


def change(path: Path, **changes: float) -> None:
    record = json.loads(path.read_text())
    record["metrics"] |= changes
    path.write_bytes(sealed(record))


def test_a_run_comes_out_again_and_a_tampered_record_does_not(machine: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    one = load(compose([*TINY, *machine]))
    train_id = run(one).train_id
    results = Path(one.machine.results_dir)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert again(train_id, machine) == 0
    shown = capsys.readouterr().out
    assert "Identity: no difference." in shown and "The run comes out again." in shown and "piqa (acc_norm, %)" in shown
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}, "nothing is written beside the records"

    path = results / "runs" / train_id / "record.json"
    loss = json.loads(path.read_text())["metrics"]["report_loss"]
    change(path, report_loss=loss + 0.02)
    assert again(train_id, machine) == 1
    assert "does NOT come out again" in capsys.readouterr().out
    change(path, report_loss=loss + 0.005)
    assert again(train_id, machine) == 0


def test_what_cannot_be_done_again_is_refused(machine: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for override in ("lr=1", "machine.threads=4"):
        with pytest.raises(SystemExit) as left:
            main(["again", "0123456789abcdef", override])
        assert left.value.code == 2 and f"{override}: a run is done again as it was recorded" in capsys.readouterr().err
    assert again("0123456789abcdef", machine) == 2
    assert "0123456789abcdef" in capsys.readouterr().err
    one = load(compose([*TINY, "suite=none", *machine]))
    train_id = run(one).train_id
    path = Path(one.machine.results_dir) / "runs" / train_id / "record.json"
    record = json.loads(path.read_text())
    record["config"]["lr"] = 5e-4
    path.write_bytes(sealed(record))
    assert again(train_id, machine) == 2
    assert "lr: 0.001 -> 0.0005" in capsys.readouterr().err
