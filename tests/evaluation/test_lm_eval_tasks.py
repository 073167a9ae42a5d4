"""lm-eval's tasks by their names: described as their YAML says, and scored as lm-eval scores them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_eval.api.group import Group
from lm_eval.api.metrics import aggregate_subtask_metrics, unweighted_mean_stderr
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.group import AggMetricConfig
from lm_eval.tasks._yaml_loader import load_yaml
from test_against_lm_eval import reference
from tiny_models import TinyBase

from olora_bench.assets import check, fetch, resolve
from olora_bench.assets.asked import command
from olora_bench.config import Experiment, compose, load
from olora_bench.config.lm_eval_tasks import _file_of, described_task, task_file, tasks_of
from olora_bench.data import benchmark_tasks
from olora_bench.errors import BadInput
from olora_bench.evaluation import Scoring, evaluate
from olora_bench.identity.ids import settings
from olora_bench.run.grouped import group_lines, group_scores
from olora_bench.store import EvalRecord, Score
from olora_bench.study.exported import _results


def of_mmlu(name: str) -> list[dict[str, Any]]:
    return [
        {
            "question": f" {name}: what is {n} and {n}?",
            "subject": name,
            "choices": [str(n + k) for k in range(4)],
            "answer": (n + len(name)) % 4,
        }
        for n in range(5)
    ]


def of_truthfulqa(_: str) -> list[dict[str, Any]]:
    """Three choices and five: what guessing scores is each item's own."""
    targets = [{"choices": [f"answer {k}" for k in range(3 + 2 * (n % 2))], "labels": [1, *[0] * (2 + 2 * (n % 2))]} for n in range(4)]
    return [{"question": f"What is {n}?", "mc1_targets": one, "mc2_targets": one} for n, one in enumerate(targets)]


def asked(folder: Path, cache_dir: Path, names: Sequence[str], rows: Any, split: str = "test") -> Experiment:
    """An experiment whose suite names lm-eval's tasks, their rows in a local folder."""
    fixed = ["model=tiny_llama2_7b", "data=made_up", "data.benchmarks=[piqa]", "data.decontaminate=[]", "assets=[local]"]
    folders = [f"machine.local_dir={folder}", f"machine.cache_dir={cache_dir}"]
    one = load(compose([*fixed, *folders, f"suite.benchmarks=[{','.join(names)}]"]))
    for name in one.suite.benchmarks:
        (folder / name).mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows(name)).to_parquet(folder / name / f"{split}.parquet")
    return one


def theirs(names: Sequence[str], folder: Path, split: str) -> dict[str, ConfigurableTask]:
    """The tasks as lm-eval makes them of its own files, its data sets' address changed."""
    found: dict[str, ConfigurableTask] = {}
    for name in names:
        file = str(folder / name / f"{split}.parquet")
        own: Mapping[str, Any] = {key: value for key, value in load_yaml(task_file(name)).items() if key not in ("tag", "group")}
        source = {
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: file, "dev": file, "train": file}},
        }
        found[name] = ConfigurableTask(config={**own, **source})
    return found


def scored_alike(one: Experiment, folder: Path, base: TinyBase, split: str = "test") -> Mapping[str, Any]:
    """Scores of a suite, after they have been compared with lm-eval's."""
    assets = resolve(one)
    check(one, assets)
    tasks = benchmark_tasks(one.benchmarks, fetch(one, assets), 0)
    scores, items = evaluate(base.model, base, Scoring(one.suite, one.benchmarks, tasks, 512), dtype="fp32")
    other = reference(base, theirs(one.suite.benchmarks, folder, split))
    for name in one.suite.benchmarks:
        for lls, sample in zip(items[items.benchmark == name].loglikelihoods, other["samples"][name], strict=True):
            np.testing.assert_allclose(lls, [answer[0] for answer in sample["filtered_resps"]], rtol=1e-6, atol=1e-5)
        for metric, value in scores[name].metrics.items():
            assert value == other["results"][name][f"{metric},none"]
    return scores


def test_mmlu_scores_as_in_lm_eval(tmp_path: Path, cache_dir: Path, bases: dict[str, TinyBase], rows: object) -> None:
    """All its subjects, by the group's name."""
    scores = scored_alike(asked(tmp_path, cache_dir, ["mmlu"], of_mmlu), tmp_path, bases["llama"])
    assert len(scores) == 57 and {(one.primary, one.chance, one.items) for one in scores.values()} == {("acc", 0.25, 5)}


@pytest.fixture
def grouped() -> Callable[..., EvalRecord]:
    """The record of made-up scores of a group's tasks, of different sizes."""

    def make(name: str, metrics: Sequence[str] = ("acc",), smallest: int = 2) -> EvalRecord:
        suite = load(compose([f"suite.benchmarks=[{name}]", "data=made_up"])).suite
        rng = np.random.default_rng(0)
        scores = {}
        for task in suite.benchmarks:
            size = int(rng.integers(smallest, 40))
            values = {metric: float(rng.integers(0, size + 1)) / size for metric in metrics}
            errors = {metric: None if size < 2 else math.sqrt(v * (1 - v) / (size - 1)) for metric, v in values.items()}
            shape = {"metrics": values, "stderr": errors, "primary": metrics[0], "items": size, "chance": 0.25, "gold_logprob": -1.0}
            scores[task] = Score.model_validate(shape | {"truncated": 0})
        nothing = {f"scores.{name}.stderr.{m}": "one item" for name, one in scores.items() for m, e in one.stderr.items() if e is None}
        return EvalRecord(
            eval_id="0" * 16, base="tiny", status="done", identity={}, config={"suite": suite.model_dump(mode="json")}, provenance={},
            scores=scores, missing=nothing, started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip

    return make


def lm_evals_group(record: EvalRecord, name: str) -> dict[str, Any]:
    """The same by lm-eval's own class, from its own file's list of means."""
    group = Group(
        name, aggregate_metric_list=[AggMetricConfig(**one) for one in load_yaml(_file_of("group", name))["aggregate_metric_list"]]
    )
    for task in tasks_of(name):
        group.add(SimpleNamespace(task_name=task))  # type: ignore[arg-type]
    group.get_all_tasks = lambda *_, **__: [SimpleNamespace(task_name=task) for task in tasks_of(name)]  # type: ignore[method-assign,assignment]
    return dict(group.aggregate({
        task: {
            "sample_len": one.items,
            **{f"{metric},none": value for metric, value in one.metrics.items()},
            **{f"{metric}_stderr,none": "N/A" if error is None else error for metric, error in one.stderr.items()},
        }
        for task, one in record.scores.items()
    }))  # type: ignore[arg-type] # fmt: skip


@pytest.mark.parametrize("smallest", [2, 1])
@pytest.mark.parametrize("name", ["mmlu", "mmlu_stem", "mmlu_humanities"])
def test_a_groups_score_is_lm_evals(name: str, smallest: int, grouped: Callable[..., EvalRecord]) -> None:
    """Weighted by the tasks' items, with the error of the pooled variance; none where a task has none."""
    record = grouped("mmlu", smallest=smallest)
    ours, lm_evals = group_scores(record)[name], lm_evals_group(record, name)
    assert ours.metrics["acc"] == pytest.approx(lm_evals["acc,none"], rel=1e-12) and ours.items == lm_evals["sample_len"]
    error = ours.stderr["acc"]
    assert ("N/A" if error is None else pytest.approx(error, rel=1e-12)) == lm_evals["acc_stderr,none"]


def test_a_mean_that_is_not_weighted_is_lm_evals_too(grouped: Callable[..., EvalRecord]) -> None:
    record = grouped("mmlu_stem")
    record.config["suite"]["groups"]["mmlu_stem"]["weighted"]["acc"] = False  # type: ignore[index,call-overload]
    ours = group_scores(record)["mmlu_stem"]
    values, errors = zip(*((one.metrics["acc"], one.stderr["acc"]) for one in record.scores.values()), strict=True)
    assert ours.metrics["acc"] == pytest.approx(aggregate_subtask_metrics(values, [1] * 19, weight_by_size=False))
    assert ours.stderr["acc"] == pytest.approx(unweighted_mean_stderr(errors))


def test_an_exported_record_has_its_groups_where_lm_evals_has_them(grouped: Callable[..., EvalRecord]) -> None:
    record = grouped("mmlu_stem")
    found, ours = _results(record, {"base": "tiny", "train_id": "0" * 16}), group_scores(record)["mmlu_stem"]
    assert found["groups"] == {
        "mmlu_stem": {
            "alias": "mmlu_stem",
            "sample_len": ours.items,
            "acc,none": ours.metrics["acc"],
            "acc_stderr,none": ours.stderr["acc"],
        }
    }
    assert found["group_subtasks"]["mmlu_stem"] == list(tasks_of("mmlu_stem"))  # type: ignore[index]


def test_a_group_is_told_after_its_tasks(grouped: Callable[..., EvalRecord]) -> None:
    record = grouped("mmlu_stem")
    value, items = group_scores(record)["mmlu_stem"].metrics["acc"], sum(one.items for one in record.scores.values())
    assert list(group_lines(record, record)) == [f"mmlu_stem, all tasks: acc {value:.1%} (base {value:.1%}, {items} items)"]


def test_a_group_enters_no_id_and_is_asked_for_by_its_name(tmp_path: Path) -> None:
    fixed = ["model=tiny_llama2_7b", "data=made_up", "data.benchmarks=[piqa]", "data.decontaminate=[]"]
    by_name = load(compose([*fixed, "suite.benchmarks=[mmlu_stem,piqa]"]))
    one_by_one = load(compose([*fixed, f"suite.benchmarks=[{','.join(by_name.suite.benchmarks)}]"]))
    assert list(by_name.suite.groups) == ["mmlu_stem"] and one_by_one.suite.groups == {}
    assert settings(by_name) == settings(one_by_one)
    assert "'suite.benchmarks=[mmlu_stem,piqa]'" in command(by_name)


def test_a_task_without_acc_is_scored_by_it_where_a_yaml_says_so(
    tmp_path: Path, cache_dir: Path, bases: dict[str, TinyBase], rows: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval scores cola by mcc alone; its items are answered right or wrong all the same."""
    monkeypatch.setattr("olora_bench.config.own_inits._FOLDERS", [tmp_path])
    (tmp_path / "benchmark").mkdir()
    told = {"name": "cola", "task": "cola", "version": 1.0, "metrics": ["acc"], "report_split": "validation", "items": None, "chance": 0.5,
            "licence": "none", "hub": {"id": "nyu-mll/glue", "config": "cola"}, "local": "cola"}  # fmt: skip
    (tmp_path / "benchmark" / "cola.yaml").write_text(json.dumps(told))
    one = asked(
        tmp_path, cache_dir, ["cola"], lambda _: [{"sentence": f"It is {n}.", "label": n % 2, "idx": n} for n in range(6)], "validation"
    )
    assets = resolve(one)
    tasks = benchmark_tasks(one.benchmarks, fetch(one, assets), 0)
    base = bases["llama"]
    scores, items = evaluate(base.model, base, Scoring(one.suite, one.benchmarks, tasks, 512), dtype="fp32")
    assert scores["cola"].metrics == {"acc": items.correct.mean()}
    other = reference(base, theirs(["cola"], tmp_path, "validation"))
    chosen = [int(np.argmax([answer[0] for answer in sample["filtered_resps"]])) for sample in other["samples"]["cola"]]
    assert items.prediction.tolist() == chosen


def test_chance_is_each_items_own_where_a_task_lists_no_choices(
    tmp_path: Path, cache_dir: Path, bases: dict[str, TinyBase], rows: object
) -> None:
    one = asked(tmp_path, cache_dir, ["truthfulqa_mc1"], of_truthfulqa, "validation")
    scores = scored_alike(one, tmp_path, bases["llama"], "validation")
    assert one.benchmarks["truthfulqa_mc1"].chance is None
    assert scores["truthfulqa_mc1"].chance == pytest.approx((1 / 3 + 1 / 5) / 2)


def test_a_group_stands_for_its_tasks_each_once() -> None:
    members = tasks_of("mmlu")
    assert len(members) == 57 and members[:1] != ("mmlu",) and all(name.startswith("mmlu_") for name in members)
    assert set(tasks_of("mmlu_stem")) < set(members) and len(tasks_of("mmlu_stem")) == 19
    assert tasks_of("boolq") == ("boolq",)


def test_a_task_is_described_by_its_own_yaml() -> None:
    found = described_task("mmlu_anatomy")
    assert found is not None
    assert found.model_dump(exclude={"licence"}) == {
        "name": "mmlu_anatomy", "task": "mmlu_anatomy", "version": 1.0, "metrics": ("acc",), "report_split": "test", "items": None,
        "chance": 0.25, "hub": {"id": "cais/mmlu", "revision": None, "config": "anatomy"}, "packaged": None, "local": "mmlu_anatomy",
    }  # fmt: skip
    assert described_task("no_such_task") is None and described_task("../mmlu") is None


@pytest.mark.parametrize("name", ["arc_easy", "boolq", "piqa", "openbookqa"])
def test_what_a_yaml_of_ours_says_of_a_task_is_what_lm_eval_says(name: str) -> None:
    """Version, split, repository and chance, where lm-eval has them; which metric is primary is ours to say."""
    ours, lm_evals = load(compose([f"suite.benchmarks=[{name}]"])).benchmarks[name], described_task(name)
    assert lm_evals is not None
    assert (ours.version, ours.report_split) == (lm_evals.version, lm_evals.report_split)
    assert set(ours.metrics) <= set(lm_evals.metrics) and lm_evals.chance in (None, ours.chance)
    assert ours.hub.id.rpartition("/")[2] == lm_evals.hub.id.rpartition("/")[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gsm8k", "lm-eval's task gsm8k is of type generate_until. Allowed: multiple_choice"),
        ("anli_r1", "lm-eval's task anli_r1 is scored on its split test_r1. Allowed: test or validation"),
        ("crows_pairs_english", "lm-eval's task crows_pairs_english is scored by likelihood_diff, pct_stereotype. "
         "Allowed: tasks scored by acc or acc_norm, the share of items answered right, which verdicts over items take; to score this one "
         "by them, write conf/benchmark/NAME.yaml for it (docs/adding.md)"),
    ],
)  # fmt: skip
def test_a_task_that_cannot_be_a_benchmark_is_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(compose([f"suite.benchmarks=[{name}]"]))
    assert str(caught.value) == message
