"""Where records lie, and run states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from store_samples import EVAL, OTHER_RUN, RUN, curve, eval_record, items, run_record

from olora_bench.errors import BadInput, RecordError
from olora_bench.store import Part, Store, lease


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs, one scored, the untouched bases of two models, and a run whose record is cut off."""
    store = Store(tmp_path)
    store.write_run(run_record(init={"seconds": 0.1}))
    store.write_run(
        run_record(train_id=OTHER_RUN, arm="lora", status="failed", error="RuntimeError: boom", steps=None, metrics={}, timings_s={})
    )
    store.write_eval(eval_record(), items())
    for model in ("tiny_llama", "tiny_opt"):
        store.write_eval(eval_record(train_id=None, base=model), items())
    bad = store.run_dir("ffffffffffffffff") / "record.json"
    bad.parent.mkdir()
    bad.write_text("{")
    return store


def test_layout(tmp_path: Path) -> None:
    """Files lie where the design says, and nowhere else."""
    store = Store(tmp_path)
    store.write_run(run_record())
    store.write_curve(RUN, curve())
    store.write_eval(eval_record(), items())
    store.write_eval(eval_record(train_id=None, base="tiny_llama"), items())
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        f"base/tiny_llama/evals/{EVAL}/items.parquet",
        f"base/tiny_llama/evals/{EVAL}/record.json",
        f"runs/{RUN}/curve.parquet",
        f"runs/{RUN}/evals/{EVAL}/items.parquet",
        f"runs/{RUN}/evals/{EVAL}/record.json",
        f"runs/{RUN}/record.json",
    ]
    assert store.adapter_path(RUN) == tmp_path / "runs" / RUN / "adapter.safetensors"


@pytest.mark.parametrize("name", ["../elsewhere", "", "a/b", ".hidden"])
def test_names_do_not_lead_out(tmp_path: Path, name: str) -> None:
    """An id from a file or a command line cannot point outside the results folder."""
    with pytest.raises(RecordError, match="is no folder name of the store"):
        Store(tmp_path).run_dir(name)


def test_evaluations_come_back(store: Store) -> None:
    """Of the run, of the base, and None where there is none."""
    (written,) = (Part.of("items.parquet", path.read_bytes()) for path in store.run_eval_dir(RUN, EVAL).glob("items.parquet"))
    assert store.read_eval(RUN, None, EVAL) == eval_record(parts={"items": written})
    assert store.read_eval(None, "tiny_llama", EVAL) == eval_record(train_id=None, base="tiny_llama", parts={"items": written})
    assert store.read_eval(OTHER_RUN, None, EVAL) is None
    assert store.read_items(OTHER_RUN, None, EVAL) is None


def test_a_failed_evaluation_has_no_items(tmp_path: Path) -> None:
    """Its record says why."""
    record = eval_record(status="failed", error="RuntimeError: boom", scores={}, finished_at=None)
    Store(tmp_path).write_eval(record, None)
    assert Store(tmp_path).read_eval(RUN, None, EVAL) == record


def test_a_copied_evaluation(store: Store) -> None:
    """An evaluation in another run's folder is refused."""
    content = (store.run_eval_dir(RUN, EVAL) / "record.json").read_bytes()
    target = store.run_eval_dir(OTHER_RUN, EVAL) / "record.json"
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        store.read_eval(OTHER_RUN, None, EVAL)
    assert (
        str(caught.value)
        == f"{target}: train_id={RUN} does not fit the folder it lies in: it was moved or copied. Put it back where it was"
    )


def test_iteration_goes_on_past_a_bad_record(store: Store) -> None:
    """What can be read comes as records, in the order of ids, the rest as errors."""
    (store.root / "runs" / ".DS_Store").write_text("")
    found = list(store.iter_runs())
    assert [getattr(one, "train_id", None) for one in found] == [RUN, OTHER_RUN, None]
    assert isinstance(found[2], RecordError)
    assert [(e.train_id, e.base) for e in store.iter_evals() if not isinstance(e, RecordError)] == [
        (RUN, None),
        (None, "tiny_llama"),
        (None, "tiny_opt"),
    ]


def test_an_empty_store(tmp_path: Path) -> None:
    """No results folder is no error."""
    store = Store(tmp_path / "nothing")
    assert list(store.iter_runs()) == list(store.iter_evals()) == []


def test_a_run_is_named_by_the_beginning_of_its_id(store: Store) -> None:
    """As long as no other run shares it."""
    assert RUN[:-2] == OTHER_RUN[:-2]
    for name in (RUN, RUN[:-1]):
        assert store.named_run(name).train_id == RUN
    with pytest.raises(BadInput, match=f"may be {RUN}, {OTHER_RUN}: give more of its id"):
        store.named_run(RUN[:-2])
    assert store.named_run(RUN[:-1].upper()).train_id == RUN
    for copied in (f"{RUN}.bak", "eeee"):
        store.run_dir(copied).mkdir()
    assert store.named_run(RUN).train_id == RUN, "a whole id is no beginning of another"
    with pytest.raises(BadInput, match=r"run eeee in .* has no record"):
        store.named_run("eeee")
    for name in ("nope", "", "../runs"):
        with pytest.raises(BadInput, match="no run"):
            store.named_run(name)
    with pytest.raises(RecordError):
        store.named_run("ffff")


def test_states(store: Store) -> None:
    """A run that was started and is held by nobody is interrupted, not running."""
    assert store.state("0000000000000000") == "planned"
    assert store.state(RUN) == "done"
    assert store.state(OTHER_RUN) == "failed"
    store.write_run(run_record(status="running", finished_at=None, missing={"finished_at": "not finished"}))
    assert store.state(RUN) == "interrupted"
    with lease(store.run_dir(RUN)), lease(store.run_dir("0000000000000000")):
        assert store.state(RUN) == store.state("0000000000000000") == "running"


def test_light_imports() -> None:
    """A fresh interpreter that imports the store has no torch, no wandb, and not even pandas."""
    code = "import sys, olora_bench.store; print([m for m in ('torch', 'wandb', 'pandas', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
