"""Items that share a passage or a source are one cluster, where records say which do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from olora_bench.analysis import StudyFrames
from olora_bench.analysis.answers import Answered
from olora_bench.analysis.compared import PairedItems, paired_items
from olora_bench.analysis.sources import SourcesRead
from tests.committed_results import read
from tests.synthetic.make import ITEMS, Maker

SEEDS, PASSAGES = 6, 50
DIFFERENCES = pd.DataFrame(
    [{"model": "m", "seed": seed, "benchmark": "boolq", "metric": "acc", "arm_id": f"olora-{seed}", "arm_eval": "e",
      "reference_id": f"lora-{seed}", "reference_eval": "e"} for seed in range(SEEDS)]
)  # fmt: skip


def study(questions: int, sources: Any) -> StudyFrames:
    """Runs that answer so many questions on each of 50 passages, all of a passage alike."""
    rng = np.random.default_rng(0)
    right = {f"{arm}-{seed}": rng.random(PASSAGES) < 0.6 for arm in ("olora", "lora") for seed in range(SEEDS)}
    ids = pa.array([f"{passage}-{question}" for passage in range(PASSAGES) for question in range(questions)])
    known = {run: np.packbits(np.repeat(which, questions)) for run, which in right.items()}
    nothing: Any = pd.DataFrame()

    def answers(train_id: str | None, base: str | None, eval_id: str) -> dict[str, Answered] | None:
        return {"boolq": Answered(ids, {}, {}, {}, known[str(train_id)], known[str(train_id)])}

    return StudyFrames("s", "", "shared_lr", (), None, nothing, nothing, nothing, nothing, [], answers, sources=sources)


def by_passage(train_id: str, eval_id: str) -> dict[str, dict[str, str]]:
    return {"boolq": {f"{passage}-{question}": str(passage) for passage in range(PASSAGES) for question in range(2)}}


def paired(questions: int, sources: Any) -> PairedItems:
    found = paired_items(study(questions, sources), DIFFERENCES)
    assert isinstance(found, PairedItems)
    return found


def test_two_questions_on_one_passage_count_as_one() -> None:
    once, twice = paired(1, by_passage), paired(2, by_passage)
    for one, both in ((once.new_seeds_and_items(), twice.new_seeds_and_items()), (once.new_items(), twice.new_items())):
        assert float(both.value) == pytest.approx(float(one.value))
        assert [*map(float, both.interval())] == pytest.approx([*map(float, one.interval())])


def test_taken_for_items_of_their_own_they_would_promise_too_much() -> None:
    alone, shared = paired(2, lambda *_: None), paired(2, by_passage)
    assert not alone.sources and shared.sources
    assert float(alone.new_items().item_se) < 0.75 * float(shared.new_items().item_se)


def test_the_newest_seeds_say_for_all_which_items_share_a_passage() -> None:
    """Pairs share their items; the first seeds' records may be older than the last one's."""
    found = paired(2, lambda train_id, eval_id: by_passage(train_id, eval_id) if train_id == f"lora-{SEEDS - 1}" else None)
    assert found.sources and len(found.tables["boolq"]) == PASSAGES


def test_committed_records_are_older_and_a_caveat_says_so() -> None:
    found = read("smollm2")
    notes = found.tables["scopes"]["reasons"].map(lambda reasons: [type(one).__name__ for one in reasons])
    assert set(map(tuple, notes)) == {("SourcesUnread",), ("ExamplesUnread",)}
    assert "SourcesUnread" in {type(one).__name__ for one in found.tables["warnings"]["caveat"]}


def test_an_item_without_a_source_is_its_own(tmp_path: Path) -> None:
    make = Maker(tmp_path)
    entry = make.run("syn", "lora", 0)
    make.score(entry, {"piqa": 20})
    record = make.store.read_eval(entry["train_id"], None, entry["eval_id"])
    items = make.store.read_items(entry["train_id"], None, entry["eval_id"])
    assert record is not None and items is not None and SourcesRead(make.store).of(entry["train_id"], entry["eval_id"]) is None
    other = {"train_id": "a" * 16, "eval_id": "b" * 16}
    make.store.write_eval(record.model_copy(update=other), items.assign(source=["p", "p", *[""] * (ITEMS - 2)]))
    found = SourcesRead(make.store).of(*other.values())
    assert found == {"piqa": {"0": "p", "1": "p"} | {str(i): str(i) for i in range(2, ITEMS)}}
