"""Made-up rows: small, always the same, and in the form that lm-eval's own task files read."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from olora_bench.assets import fetch, made_up, resolve
from olora_bench.errors import BadInput
from olora_bench.store.sealed import digest_of

TASKS = ["arc_challenge", "arc_easy", "openbookqa", "boolq", "hellaswag", "piqa", "winogrande"]


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_distinct_and_answers_spread(task):
    """48 train and 8 evaluation rows, none twice, no evaluation row among the train rows, more than one right answer."""
    rows = {split: made_up.rows(task, split) for split in ("train", "validation", "test")}
    assert {split: len(r) for split, r in rows.items()} == {"train": 48, "validation": 8, "test": 8}
    ids = ("id", "ind", "idx", "source_id", "split")
    texts = [repr({k: v for k, v in row.items() if k not in ids}) for r in rows.values() for row in r]
    assert len(set(texts)) == len(texts)


def test_rows_never_change():
    """The rows are the same on every machine and in every version of the code: they are part of ids."""
    assert made_up.VERSION == 1
    assert (
        digest_of([made_up.rows(task, split) for task in [*TASKS, "instructions"] for split in ("train", "test")])
        == "e97d4cfb222716c2b302093668bb2136c83dfa7ae16e22a53c51f4a73e2f6ba8"
    )


def test_task_without_made_up_rows():
    """A task nobody made rows for is refused with those that have some."""
    with pytest.raises(BadInput) as caught:
        made_up.rows("mmlu", "train")
    assert str(caught.value) == (
        "there are no made-up rows for mmlu. Allowed: arc_challenge, arc_easy, openbookqa, boolq, hellaswag, piqa, winogrande, "
        "instructions. Use rows=real"
    )


def test_lm_evals_task_files_read_them(make):
    """lm-eval's own YAMLs run on the rows: every item has choices and a gold index in range."""
    from olora_bench.data import benchmark_tasks

    overrides = ["data=made_up", "data.decontaminate=[]", "suite=commonsense6_made_up", f"suite.benchmarks=[{','.join(TASKS)}]"]
    experiment = make("model=tiny_tinyllama", *overrides)
    folders = fetch(experiment, resolve(experiment))
    tasks = benchmark_tasks(experiment.benchmarks, folders, 0)
    for name, task in tasks.items():
        folder = folders[f"benchmark:{name}"]
        docs = list(task.eval_docs)
        report = folder / f"{experiment.benchmarks[name].report_split}.parquet"
        assert len(docs) == 8 == pq.read_metadata(report).num_rows
        golds = set()
        for doc in docs:
            choices = task.doc_to_choice(doc)
            gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            assert 0 <= gold < len(choices) and all(isinstance(c, str) and c.strip() for c in choices)
            golds.add(gold)
        assert len(golds) > 1
