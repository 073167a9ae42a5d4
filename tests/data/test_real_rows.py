"""The published rows, where the folder with them is given: OLORA_BENCH_TEST_DATA, laid out as `local` in conf/benchmark says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_rows import read_benchmarks

from olora_bench.config import compose, load, options
from olora_bench.data import benchmark_tasks
from olora_bench.data.items import benchmark_items
from olora_bench.data.selection import select
from olora_bench.data.tasks import lm_eval_quietly

pytestmark = [pytest.mark.slow, pytest.mark.skipif("OLORA_BENCH_TEST_DATA" not in os.environ, reason="OLORA_BENCH_TEST_DATA is not set")]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Asset key -> folder of links to each benchmark's splits (HellaSwag's train split is left out: it is a reconstruction)."""
    root, given = tmp_path_factory.mktemp("published"), Path(os.environ["OLORA_BENCH_TEST_DATA"])
    paths = {"data:alpaca": given / "alpaca"}
    for name, benchmark in read_benchmarks(tuple(options("benchmark"))).items():
        folder = paths[f"benchmark:{name}"] = root / name
        folder.mkdir()
        for split in ("train", "validation", "test"):
            if (source := given / benchmark.local / f"{split}.parquet").is_file():
                (folder / f"{split}.parquet").symlink_to(source)
    return paths


def test_every_scored_item_has_an_id_of_its_own(published: dict[str, Path]) -> None:
    """As many items as the benchmark's YAML says, no id twice, no empty prompt or answer."""
    benchmarks = read_benchmarks(tuple(options("benchmark")))
    with lm_eval_quietly():
        for name, task in benchmark_tasks(benchmarks, published, 0).items():
            items = list(benchmark_items(task, name, benchmarks[name].report_split, task.eval_docs))
            assert len({item.id for item in items}) == len(items) == benchmarks[name].items, name
            assert all(item.context.strip() and item.continuation.strip() for item in items), name


def test_alpaca_repeats_one_question_of_each_arc(published: dict[str, Path]) -> None:
    """A plain string search finds "largest organ" (Challenge) and "boiling point" (Easy) inside Alpaca, and so does this."""
    overrides = ["data.decontaminate=[arc_challenge,arc_easy]", "data.tune_size=1", "data.report_size=1", "suite=none"]
    experiment = load(compose(["model=tinyllama", "data=alpaca", *overrides]))
    removed = select(experiment.data, experiment.benchmarks, published).removed
    assert sum(r["near"] for r in removed.values()) == 2
    assert sum(r["exact"] for r in removed.values()) == 0
