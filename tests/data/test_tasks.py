from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import lm_eval.utils
import pytest
from tiny_rows import SIX, read_benchmarks, row, write_rows

from olora_bench.config.choices import options
from olora_bench.config.lm_eval_tasks import task_file
from olora_bench.data import benchmark_tasks
from olora_bench.data.tasks import lm_eval_quietly
from olora_bench.errors import BadInput, MissingAssets


def test_only_where_the_data_comes_from_is_changed(rows: dict[str, Path]) -> None:
    """Every other key of lm-eval's YAML is as lm-eval reads it."""
    from lm_eval.config.task import TaskConfig
    from lm_eval.tasks._yaml_loader import load_yaml

    for name, task in benchmark_tasks(read_benchmarks(), rows, 0).items():
        raw = {k: v for k, v in load_yaml(task_file(name)).items() if k not in ("tag", "group")}
        theirs, ours = TaskConfig(**raw).to_dict(), task.config.to_dict()
        changed = {k for k in theirs | ours if theirs.get(k) != ours.get(k)}
        assert changed <= {"custom_dataset", "process_docs", "fewshot_config", "num_fewshot"}, name
        assert ("process_docs" in changed) == (raw.get("process_docs") is not None), name
        assert ours["num_fewshot"] == 0


def test_tasks_are_built_once_until_their_rows_change(rows: dict[str, Path], tmp_path: Path) -> None:
    """The same files give the same object; other bytes in them give another."""
    benchmarks = read_benchmarks(("piqa",))
    assert benchmark_tasks(benchmarks, rows, 0)["piqa"] is benchmark_tasks(benchmarks, rows, 0)["piqa"]
    import random

    write_rows(tmp_path, "validation", [row("piqa", random.Random(0), i, "validation") for i in range(3)])
    three = benchmark_tasks(benchmarks, {"benchmark:piqa": tmp_path}, 0)["piqa"]
    write_rows(tmp_path, "validation", [row("piqa", random.Random(0), i, "validation") for i in range(4)])
    assert [len(three.eval_docs), len(benchmark_tasks(benchmarks, {"benchmark:piqa": tmp_path}, 0)["piqa"].eval_docs)] == [3, 4]


def test_another_version_of_a_task_is_refused(rows: dict[str, Path]) -> None:
    """The message has both versions and what to do."""
    benchmarks = {"piqa": read_benchmarks(("piqa",))["piqa"].model_copy(update={"version": 3.0})}
    with pytest.raises(BadInput) as caught:
        benchmark_tasks(benchmarks, rows, 0)
    assert str(caught.value) == (
        f"benchmark piqa: its YAML pins version 3.0 of lm-eval's task piqa, the installed lm-eval {version('lm_eval')} has 1.0. "
        "Scores of two versions do not compare: install the lm-eval that was pinned, or change `version` (which starts new evaluations)"
    )


def test_another_scored_split_is_refused(rows: dict[str, Path]) -> None:
    """A YAML that says `test` of a task whose labels end at `validation`."""
    benchmarks = {"piqa": read_benchmarks(("piqa",))["piqa"].model_copy(update={"report_split": "test"})}
    with pytest.raises(BadInput, match=r"its YAML says report_split=test, the installed lm-eval .* scores validation\. Set report_split"):
        benchmark_tasks(benchmarks, rows, 0)


def test_an_unknown_task_is_refused(rows: dict[str, Path]) -> None:
    """The message says how to list those there are."""
    benchmarks = {"piqa": read_benchmarks(("piqa",))["piqa"].model_copy(update={"task": "pica_zzz"})}
    with pytest.raises(BadInput) as caught:
        benchmark_tasks(benchmarks, rows, 0)
    assert str(caught.value) == f"lm-eval {version('lm_eval')} has no task 'pica_zzz'. `lm-eval ls tasks` prints those it has"


def test_a_task_that_generates_text_is_refused(rows: dict[str, Path]) -> None:
    """gsm8k has no choices to score."""
    benchmarks = {"piqa": read_benchmarks(("piqa",))["piqa"].model_copy(update={"task": "gsm8k", "version": 3.0})}
    with pytest.raises(BadInput, match=r"lm-eval's task gsm8k is of type 'generate_until'\. Allowed: multiple_choice"):
        benchmark_tasks(benchmarks, rows, 0)


def test_a_missing_scored_split_is_named(tmp_path: Path) -> None:
    """The file that is missing, and what brings it."""
    with pytest.raises(MissingAssets) as caught:
        benchmark_tasks(read_benchmarks(("boolq",)), {"benchmark:boolq": tmp_path}, 0)
    assert str(caught.value) == (
        f"benchmark boolq: {tmp_path / 'validation.parquet'} is missing, the split that is scored. Run `make assets`, or put the file there"
    )


def test_zero_shot_needs_the_scored_split_only(tmp_path: Path) -> None:
    """Without a train split zero-shot works, and few-shot says what it lacks."""
    import random

    write_rows(tmp_path, "validation", [row("hellaswag", random.Random(0), i, "validation") for i in range(2)])
    benchmarks, paths = read_benchmarks(("hellaswag",)), {"benchmark:hellaswag": tmp_path}
    assert len(benchmark_tasks(benchmarks, paths, 0)["hellaswag"].eval_docs) == 2
    with pytest.raises(MissingAssets, match=r"suite\.num_fewshot=3: benchmark hellaswag takes its examples from .*train\.parquet"):
        benchmark_tasks(benchmarks, paths, 3)


def test_every_shipped_benchmark_has_its_task_in_lm_eval() -> None:
    """Found without lm-eval's index."""
    for name, benchmark in read_benchmarks(tuple(options("benchmark"))).items():
        assert task_file(benchmark.task).is_file(), name


@pytest.mark.slow
def test_the_task_file_is_the_one_lm_evals_index_has() -> None:
    """Its TaskManager, which reads all of its files, says the same."""
    from lm_eval.tasks import TaskManager

    index = TaskManager().task_index
    for name in (*SIX, "arc_easy"):
        assert Path(index[name].yaml_path) == task_file(name)


def test_lm_eval_is_as_before_afterwards() -> None:
    """Prompt compiler, progress bars and logging come back, also after an error."""
    import datasets

    def state() -> Any:
        return (
            lm_eval.api.task.tqdm,
            logging.getLogger("lm_eval").level,
            datasets.are_progress_bars_disabled(),
            lm_eval.utils.env.from_string,
        )

    before = state()
    with pytest.raises(KeyError), lm_eval_quietly():
        assert lm_eval.utils.apply_template("{{a}}", {"a": 1}) == "1"
        assert lm_eval.utils.apply_template("{{a}}", {"a": 2}) == "2"
        raise KeyError
    assert state() == before


def test_reading_local_rows_is_told_to_no_counter() -> None:
    """`datasets` asks a server on the network each time it loads a file, unless this is off."""
    before = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    with lm_eval_quietly():
        assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    assert before == datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
