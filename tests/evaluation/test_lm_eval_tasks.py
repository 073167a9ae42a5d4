"""lm-eval's tasks by their names: described as their YAML says, and scored as lm-eval scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from test_against_lm_eval import reference
from tiny_models import TinyBase

from olora_bench.assets import check, fetch, resolve
from olora_bench.config import Experiment, compose, load
from olora_bench.config.lm_eval_tasks import described_task, task_file, tasks_of
from olora_bench.data import benchmark_tasks
from olora_bench.errors import BadInput
from olora_bench.evaluation import Scoring, evaluate


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
        source = {"dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": {split: file, "dev": file}}}
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
         "Allowed: tasks scored by acc or acc_norm"),
    ],
)  # fmt: skip
def test_a_task_that_cannot_be_a_benchmark_is_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(compose([f"suite.benchmarks=[{name}]"]))
    assert str(caught.value) == message
