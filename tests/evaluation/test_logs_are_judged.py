"""Adapters trained by transformers' Trainer and TRL's, scored by lm-eval itself: what they leave is judged as our own items.

The small twin that always runs is tests/foreign, on logs that it writes itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lm_eval
import pandas as pd
import pytest
import torch
import yaml
from datasets import Dataset
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft import LoraConfig, get_peft_model
from tiny_models import TinyBase
from tiny_rows import read_benchmarks, write_benchmarks
from transformers import Trainer, TrainingArguments

from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.given import matched
from olora_bench.analysis.given_frames import plain_row, study_frames, two_arms
from olora_bench.analysis.pairs import pairs
from olora_bench.config import Suite
from olora_bench.data import benchmark_tasks
from olora_bench.evaluation import Scoring, evaluate
from olora_bench.foreign.lm_eval_frames import Wanted, of_results, results_of
from olora_bench.judge import judge
from olora_bench.study.imported import Read, read_runs

pytestmark = pytest.mark.slow
TASKS = ("piqa", "boolq")
ARMS = {"olora": "olora", "lora": True}
SEEDS = (0, 1, 2)
Judged = tuple[Path, dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def judged(bases: dict[str, TinyBase], tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A folder with everything that six runs left behind, and our own items of the same adapters, by arm."""
    root, base = tmp_path_factory.mktemp("left"), bases["llama"]
    rows = write_benchmarks(tmp_path_factory.mktemp("rows"), TASKS, train=4, report=40)
    benchmarks = read_benchmarks(TASKS)
    tasks = benchmark_tasks(benchmarks, rows, 0)
    asked = Scoring(Suite(name="two", benchmarks=TASKS), benchmarks, tasks, 512)
    ours: dict[str, list[pd.DataFrame]] = {}
    for arm, init in ARMS.items():
        for seed in SEEDS:
            folder = root / "runs" / arm / f"seed{seed}"
            model = trained(base, init, seed, folder)
            _, items = evaluate(model, base, asked, dtype="fp32")
            primary = items["benchmark"].map({name: benchmarks[name].metrics[0] for name in TASKS})
            right = items["correct_norm"].where(primary == "acc_norm", items["correct"])
            ours.setdefault(arm, []).append(
                items[["benchmark", "source"]].assign(item=items["item_id"], correct=right, seed=seed, metric=primary)
            )
            logged(model, base, tasks, folder / "eval")
    return root, {arm: pd.concat(parts) for arm, parts in ours.items()}


def trained(base: TinyBase, init: Any, seed: int, folder: Path) -> Any:
    """An adapter after three steps of transformers' Trainer, saved with its log."""
    config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=init, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    settings = TrainingArguments(
        output_dir=str(folder), max_steps=3, learning_rate=0.3, logging_steps=1, eval_strategy="steps", eval_steps=1, seed=seed,
        per_device_train_batch_size=2, save_strategy="no", report_to=[], use_cpu=True,
    )  # fmt: skip
    rows = [{"input_ids": list(range(3, 15)), "labels": list(range(3, 15))}] * 6
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(base.model), config)
    trainer = Trainer(model, settings, train_dataset=rows, eval_dataset=rows[:2])  # type: ignore[arg-type]
    trainer.train()
    trainer.save_state()
    model.save_pretrained(folder / "adapter")
    return model.eval()


def logged(model: Any, base: TinyBase, tasks: dict[str, Any], folder: Path) -> None:
    """lm-eval's own scoring and its own files."""
    scored = HFLM(pretrained=model, tokenizer=base.tokenizer, batch_size=8, device="cpu")
    manager = TaskManager(include_path=str(Path(lm_eval.__file__).parent / "tasks" / "piqa"), include_defaults=False)
    with mock.patch("lm_eval.evaluator.add_env_info"):  # lists every installed package, which takes seconds
        found = lm_eval.simple_evaluate(scored, tasks=list(tasks.values()), task_manager=manager, bootstrap_iters=10, log_samples=True)
    assert found is not None
    samples, tracker = found.pop("samples"), EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.log_experiment_args(
        model_source="hf",
        model_args="pretrained=org/tiny,peft=adapter",
        system_instruction=None,
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    tracker.save_results_aggregated(found, samples)
    for name, rows in samples.items():
        tracker.save_results_samples(name, rows)


def test_lm_evals_logs_are_judged_as_our_own_items_number_for_number(judged: Judged) -> None:
    root, ours = judged
    theirs = {arm: of_results("", results_of(str(root / "runs" / arm)), Wanted()).frame for arm in ARMS}
    one = judge(theirs["olora"], theirs["lora"], names=("olora", "lora"))
    other = judge(ours["olora"], ours["lora"], names=("olora", "lora"))
    assert repr(one.said) == repr(other.said) and one.benchmarks == other.benchmarks  # as text: what is not known is NaN
    assert one.outcome.score.difference == other.outcome.score.difference
    assert one.left_out == () and one.seeds == SEEDS
    assert one.said[0].effect.has_interval and one.said[0].block_se > 0


def test_the_imported_study_says_the_same_of_each_benchmark(judged: Judged) -> None:
    root, ours = judged
    found = imported(root)
    together = matched(ours)
    own = study_frames(together, {run: plain_row(run) for run in together.runs}, two_arms(("olora", "lora"), None))
    columns = ["benchmark", "metric", "items", "score_arm", "score_reference", "difference", "low", "high", "p", "found", "verdict"]
    pd.testing.assert_frame_equal(cells(found.frames)[columns], cells(own)[columns])
    assert {(one.rank, one.lr, one.lr_from, one.steps) for one in found.records} == {(4, 0.3, "the trainer's log", 3)}


def imported(root: Path) -> Read:
    study = {
        "name": "left",
        "title": "t",
        "runs": "runs/{arm}/seed{seed}",
        "base": "org/tiny",
        "contrasts": [{"arm": "olora", "reference": "lora"}],
    }
    (root / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return read_runs(root / "study.yaml", root / "results")


def cells(frames: StudyFrames) -> pd.DataFrame:
    pair = pairs(frames)
    return compare_cells(frames, pair, seed_differences(frames, pair))


def test_the_trainers_curves_are_read(judged: Judged) -> None:
    curves = imported(judged[0]).frames.curves
    assert curves.groupby("train_id").size().tolist() == [3] * 6
    assert curves[["train_loss", "report_loss", "lr", "grad_norm"]].notna().all(axis=None)


def test_trls_curves_are_read_with_their_tokens(bases: dict[str, TinyBase], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed: its log is not tried")
    base = bases["llama"]
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "runs" / "lora" / "seed0"), max_steps=2, logging_steps=1, per_device_train_batch_size=2, max_length=32,
        save_strategy="no", report_to=[], use_cpu=True, bf16=False, dataset_text_field="text",
    )  # fmt: skip
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    rows = Dataset.from_list([{"text": "amber barn candle drift"}] * 4)
    trainer = trl.SFTTrainer(copy.deepcopy(base.model), settings, train_dataset=rows, processing_class=base.tokenizer, peft_config=config)
    trainer.train()
    trainer.save_state()
    study = {"name": "trl", "title": "t", "runs": "runs/{arm}/seed{seed}", "contrasts": [{"arm": "olora", "reference": "lora"}]}
    study |= {"arms": ["olora", "lora"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    curves = read_runs(tmp_path / "study.yaml", tmp_path / "results").frames.curves
    assert curves["step"].tolist() == [1, 2]
    assert curves[["train_loss", "tokens"]].notna().all(axis=None) and curves["tokens"].is_monotonic_increasing


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_DISABLED", "true")
    yield
