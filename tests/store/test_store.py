"""Where records lie, run states, and frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from store_samples import EVAL, OTHER_RUN, RUN, curve, eval_record, items, run_record

from olora_bench.errors import BadInput, RecordError
from olora_bench.store import Part, Store, lease, runs_frame, scores_frame


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
    """No results folder is no error, and frames keep their typed columns."""
    store = Store(tmp_path / "nothing")
    assert list(store.iter_runs()) == list(store.iter_evals()) == []
    assert runs_frame(store).dtypes["rank"] == scores_frame(store).dtypes["rank"] == "Int64"


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


def test_runs_frame(store: Store) -> None:
    """One row a run, types that keep integers and nulls apart, and no bad record lost in silence."""
    frame = runs_frame(store).set_index("train_id")
    assert list(frame.index) == [RUN, OTHER_RUN]
    assert dict(frame.loc[RUN, ["arm", "model", "init", "rank", "lr", "seed", "steps", "metrics.report_loss", "timings_s.train"]]) == {
        "arm": "olora", "model": "tiny_llama", "init": "olora", "rank": 4, "lr": 3e-4, "seed": 1, "steps": 2,
        "metrics.report_loss": 1.25, "timings_s.train": 50.0,
    }  # fmt: skip
    assert frame.loc[OTHER_RUN, "status"] == "failed"
    assert frame.loc[OTHER_RUN, ["steps", "metrics.report_loss"]].isna().all()
    assert frame.dtypes["steps"] == "Int64" and frame.dtypes["lr"] == "Float64"
    assert (frame["finished_at"] - frame["started_at"]).dt.total_seconds().tolist() == [60.5, 60.5]
    bad = store.run_dir("ffffffffffffffff") / "record.json"
    assert runs_frame(store).attrs["unreadable"] == [
        f"{bad}: truncated after 1 bytes, in the middle of the JSON. Move it away and run again"
    ]


def test_runs_frame_of_some(store: Store) -> None:
    """Only the runs asked for; one without a record has no row."""
    frame = runs_frame(store, [OTHER_RUN, "0000000000000000"])
    assert frame["train_id"].tolist() == [OTHER_RUN]
    assert frame.attrs["unreadable"] == []


def test_scores_frame(store: Store) -> None:
    """One row a (run or base, benchmark, metric), primary metric marked."""
    frame = scores_frame(store)
    columns = ["train_id", "base", "model", "arm", "benchmark", "metric", "primary", "value", "stderr", "items", "limit"]
    assert frame[columns].astype(object).where(frame[columns].notna(), None).to_numpy().tolist() == [
        [RUN, None, "tiny_llama", "olora", "piqa", "acc_norm", True, 0.5, 0.5, 2, 2],
        [RUN, None, "tiny_llama", "olora", "piqa", "acc", False, 1.0, 0.0, 2, 2],
        [None, "tiny_llama", "tiny_llama", None, "piqa", "acc_norm", True, 0.5, 0.5, 2, 2],
        [None, "tiny_llama", "tiny_llama", None, "piqa", "acc", False, 1.0, 0.0, 2, 2],
        [None, "tiny_opt", "tiny_opt", None, "piqa", "acc_norm", True, 0.5, 0.5, 2, 2],
        [None, "tiny_opt", "tiny_opt", None, "piqa", "acc", False, 1.0, 0.0, 2, 2],
    ]
    assert len(frame.attrs["unreadable"]) == 1


def test_scores_frame_of_some(store: Store) -> None:
    """The runs asked for and the bases of their models."""
    frame = scores_frame(store, [RUN])
    assert frame["base"].dropna().unique().tolist() == ["tiny_llama"]
    assert set(frame["train_id"].dropna()) == {RUN}
    assert pd.isna(frame["arm"]).sum() == 2


def test_light_imports() -> None:
    """A fresh interpreter that imports the store has no torch, no wandb, and not even pandas."""
    code = "import sys, olora_bench.store; print([m for m in ('torch', 'wandb', 'pandas', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
