"""One experiment end to end on a tiny model: what is the same, what moves, what is kept when it breaks."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from olora_bench.config import Experiment, compose, load
from olora_bench.errors import BadInput, RunFailed, StoreError
from olora_bench.run.experiment import Finished, run, summary
from olora_bench.store import Store

TINY = [
    "model=tiny_tinyllama", "rank=4", "lr=1e-3", "precision=fp32", "data=made_up", "suite=commonsense6_made_up", "tracker=none",
    "recipe.steps=5", "recipe.loss_evaluations=2",
]  # fmt: skip


@pytest.fixture
def experiment(machine: list[str]):  # type: ignore[no-untyped-def]
    def make(*overrides: str, folder: Path | None = None) -> Experiment:
        elsewhere = [] if folder is None else [f"machine.results_dir={folder}"]
        return load(compose([*TINY, *machine, *elsewhere, *overrides]))

    return make


def read(one: Experiment, outcome: Finished) -> tuple[pd.DataFrame, pd.DataFrame, dict]:  # type: ignore[type-arg]
    store = Store(one.machine.results_dir)
    curve = store.read_curve(outcome.train_id)
    assert outcome.eval_id is not None and curve is not None
    items = store.read_items(outcome.train_id, None, outcome.eval_id)
    assert items is not None
    return curve.drop(columns="wall_s"), items, load_file(store.adapter_path(outcome.train_id))


@pytest.mark.parametrize("init", ["lora", "olora"])
def test_the_same_run_twice_is_the_same_bit_for_bit(experiment, tmp_path: Path, init: str) -> None:  # type: ignore[no-untyped-def]
    """In one process, with other runs on the same base in between: nothing of them is left in the base."""
    first = experiment(f"init={init}", folder=tmp_path / "a")
    left = read(first, run(first))
    between = experiment("init=olora", "seed=7", folder=tmp_path / "c")
    run(between)
    again = experiment(f"init={init}", folder=tmp_path / "b")
    right = read(again, run(again))
    pd.testing.assert_frame_equal(left[0], right[0], check_exact=True)
    pd.testing.assert_frame_equal(left[1], right[1], check_exact=True)
    assert all((left[2][name] == right[2][name]).all() for name in left[2])


def test_a_record_keeps_its_final_losses_by_example(experiment) -> None:  # type: ignore[no-untyped-def]
    """Their sums over their tokens are the losses of the record; a folder that lost them is computed again to the same bytes."""
    one = experiment("suite=none")
    store, train_id = Store(one.machine.results_dir), run(one).train_id
    record, table = store.read_run(train_id), store.run_beside(train_id)[1].table("examples")
    assert record is not None and table is not None
    frame = table.to_pandas()
    for part, group in frame.groupby("part"):
        assert record.metrics[f"{part}_loss"] == pytest.approx(group["loss_sum"].astype(float).sum() / group["tokens"].sum(), abs=1e-12)
        assert len(group) == record.data[part]["examples"] and group["tokens"].sum() == record.data[part]["supervised_tokens"]  # type: ignore[index, call-overload]
    (store.run_dir(train_id) / record.parts["examples"].file).unlink()
    assert run(one).computed
    again = store.read_run(train_id)
    assert again is not None and again.parts["examples"].sha256 == record.parts["examples"].sha256


def test_another_seed_is_another_order_and_keeps_the_parts(experiment, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one, other = experiment("seed=0"), experiment("seed=1")
    curves = [read(e, run(e))[0] for e in (one, other)]
    assert (curves[0]["train_loss"] != curves[1]["train_loss"]).any()
    # The untouched model's losses on the held-out parts are those of the same examples.
    assert curves[0]["tune_loss"].iloc[0] == curves[1]["tune_loss"].iloc[0]
    assert curves[0]["report_loss"].iloc[0] == curves[1]["report_loss"].iloc[0]


def test_a_raised_limit_and_an_added_benchmark_retrain_nothing(experiment) -> None:  # type: ignore[no-untyped-def]
    few = experiment("suite.limit=2", "suite.benchmarks=[piqa]")
    first = run(few)
    store = Store(few.machine.results_dir)
    trained = store.run_dir(first.train_id).joinpath("record.json").stat().st_mtime_ns
    for overrides in (["suite.limit=4", "suite.benchmarks=[piqa]"], ["suite.limit=2", "suite.benchmarks=[piqa,boolq]"]):
        more = experiment(*overrides)
        outcome = run(more)
        assert outcome.computed and outcome.train_id == first.train_id and outcome.eval_id != first.eval_id
    assert store.run_dir(first.train_id).joinpath("record.json").stat().st_mtime_ns == trained


def test_scores_of_a_reloaded_adapter_are_those_of_the_trained_model(experiment, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one = experiment("init=olora")
    outcome = run(one)
    before = read(one, outcome)[1]
    store = Store(one.machine.results_dir)
    for path in store.run_eval_dir(outcome.train_id, outcome.eval_id).iterdir():  # type: ignore[arg-type]
        path.unlink()
    assert run(one).computed
    pd.testing.assert_frame_equal(before, read(one, outcome)[1], check_exact=True)


def test_the_record_says_where_its_numbers_come_from(experiment) -> None:  # type: ignore[no-untyped-def]
    one = experiment("init=olora")
    record = Store(one.machine.results_dir).read_run(run(one).train_id)
    assert record is not None
    assert record.status == "done" and record.steps == 5
    assert {"torch", "transformers", "peft"} <= record.provenance["packages"].keys()
    assert {a["key"] for a in record.provenance["assets"]} >= {"model:tiny_tinyllama", "benchmark:piqa"}
    assert record.provenance["threads"] == 2
    assert record.metrics["report_loss"] is not None
    assert (
        record.peak_above_base_bytes is not None
        and record.adapter_bytes == Store(one.machine.results_dir).adapter_path(record.train_id).stat().st_size
    )


def test_a_failed_run_keeps_its_reason_and_the_next_try_succeeds(experiment, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    import olora_bench.training as training

    one = experiment()

    def broken(*_: object, **__: object) -> None:
        raise FloatingPointError(f"planted in {one.machine.results_dir}/runs")

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", broken)
        with pytest.raises(
            RunFailed, match=r"failed: FloatingPointError: planted in .*/runs\. The traceback is in .*/record\.json"
        ) as raised:
            run(one)
    store = Store(one.machine.results_dir)
    failed = next(r for r in store.iter_runs())
    assert str(store.run_dir(failed.train_id)) in str(raised.value) and "in broken" in failed.error
    assert failed.status == "failed" and failed.error.startswith("FloatingPointError: planted") and failed.attempts == 1
    assert "planted in <machine.results_dir>/runs" in failed.error
    assert 'File "olora_bench/run/compute.py", line' in failed.error and 'File "test_experiment.py", line' in failed.error
    assert not [str(folder) for folder in (one.machine.results_dir, Path.cwd(), Path.home()) if str(folder) in failed.error]
    assert run(one).status == "done"
    assert next(r for r in store.iter_runs()).attempts == 2


def test_what_a_record_says_of_folders(experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Whole names only, the longest first, given or resolved."""
    from olora_bench.run.recording import without_folders

    home = tmp_path / "alice"
    monkeypatch.setenv("HOME", str(home))
    machine = {"results_dir": Path("out/results"), "cache_dir": Path("/data"), "local_dir": Path("/data/hub")}
    one = experiment()
    one = one.model_copy(update={"machine": one.machine.model_copy(update=machine)})
    for text, wanted in {
        'File "/usr/lib/python3/dist-packages/x/y.py", line 1': 'File "dist-packages/x/y.py", line 1',
        'File "/scratch/torchinductor_alice/ab/c.py", line 1': 'File "c.py", line 1',
        'File "<frozen runpy>", line 1': 'File "<frozen runpy>", line 1',
        'File "/srv/olora_bench/olora_bench/data/parts.py", line 1': 'File "olora_bench/data/parts.py", line 1',
        f"{Path.cwd()}/out/results/runs and out/results/runs": "<machine.results_dir>/runs and <machine.results_dir>/runs",
        "/data/hub/x, /data/x, /data2/x, a/data/x": "<machine.local_dir>/x, <machine.cache_dir>/x, /data2/x, a/data/x",
        f"{home}/.cache": "~/.cache",
    }.items():
        assert without_folders(text, one) == wanted
    assert without_folders(f"{home}2", one).endswith("/alice2"), "another folder"


def test_a_run_alone_ends_by_saying_what_became_of_it(experiment) -> None:  # type: ignore[no-untyped-def]
    """The numbers are counted again here from the loss curve and the stored items."""
    one = experiment("suite.benchmarks=[piqa]")
    outcome = run(one)
    curve, items, _ = read(one, outcome)
    text = summary(one)
    losses = curve["report_loss"].dropna()
    assert f"{outcome.train_id} done: held-out loss {losses.iloc[0]:.3f} before, {losses.iloc[-1]:.3f} after" in text
    assert f"piqa: acc_norm {items['correct_norm'].mean():.1%} (base " in text and f"chance 50.0%, {len(items)} items" in text
    assert Path(text.splitlines()[-1].removeprefix("records: ")).joinpath("record.json").is_file()


def test_a_results_folder_that_cannot_be_written_is_refused_before_any_work(experiment, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        run(experiment(folder=tmp_path / "file" / "results"))


def test_no_secret_reaches_a_record(experiment, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t" * 7)
    monkeypatch.setenv("HF_TOKEN", "hf_s3cr3t")
    one = experiment("suite=none")
    outcome = run(one)
    text = Store(one.machine.results_dir).run_dir(outcome.train_id).joinpath("record.json").read_text()
    assert "s3cr3t" not in text and os.environ["HF_TOKEN"] not in text
    assert str(one.machine.results_dir) not in text and str(one.machine.cache_dir) not in text and str(Path.home()) not in text


def test_a_missing_asset_is_bad_input(experiment, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match="model:smollm2_135m_q4"):
        run(experiment("model=smollm2_135m_q4", "assets=[local]", f"machine.local_dir={tmp_path}"))
