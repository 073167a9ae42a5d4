"""What `evaluate` adds to lm-eval: seeded items, ids, chance, warnings, and leaving the model as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import TinyBase
from tiny_rows import read_benchmarks, write_rows
from torch import nn

from olora_bench.config import Suite
from olora_bench.data import benchmark_tasks
from olora_bench.evaluation import Scoring, evaluate
from olora_bench.evaluation.scores import chosen_rows


def score(base: Any, rows: dict[str, Path], *names: str, dtype: Any = "fp32", model: nn.Module | None = None, **suite: Any) -> Any:
    benchmarks = read_benchmarks(names)
    tasks = benchmark_tasks(benchmarks, rows, 0)
    asked = Scoring(Suite(name="some", benchmarks=names, **suite), benchmarks, tasks, token_budget=512)
    return evaluate(base.model if model is None else model, base, asked, dtype=dtype)


def test_a_limit_picks_the_same_items_whatever_else_is_scored(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """The picked ids hang on (limit_seed, benchmark) alone, and a larger limit keeps those of a smaller."""
    _, alone = score(bases["llama"], rows, "piqa", limit=4)
    _, beside = score(bases["opt"], rows, "boolq", "piqa", limit=4)
    _, more = score(bases["llama"], rows, "piqa", limit=7)
    _, all_items = score(bases["llama"], rows, "piqa")
    ids = alone["item_id"].tolist()
    assert ids == beside[beside.benchmark == "piqa"]["item_id"].tolist()
    assert set(ids) < set(more["item_id"]) < set(all_items["item_id"])
    kept = all_items.set_index("item_id").loc[ids].reset_index()
    for column in ("gold", "prediction", "prediction_norm"):
        assert kept[column].tolist() == alone[column].tolist()
    np.testing.assert_allclose(kept.loglikelihoods.tolist(), alone.loglikelihoods.tolist(), rtol=1e-6, atol=1e-5)


def test_another_limit_seed_picks_other_items() -> None:
    """Of 1000 rows, two seeds agree on few of 100."""
    zero, one = (set(chosen_rows(Suite(name="s", benchmarks=("piqa",), limit=100, limit_seed=s), "piqa", 1000)) for s in (0, 1))
    assert len(zero) == len(one) == 100
    assert len(zero & one) < 30
    # A literal: should the draw change, stored scores are of other items.
    assert chosen_rows(Suite(name="s", benchmarks=("piqa",), limit=4), "piqa", 100) == [39, 69, 70, 74]


def test_items_keep_the_data_sets_own_ids(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """ARC's id, BoolQ's idx, HellaSwag's ind with the row, PIQA's row."""
    _, items = score(bases["llama"], rows, "arc_challenge", "boolq", "hellaswag", "piqa")
    last = items.groupby("benchmark")["item_id"].last().to_dict()
    assert last == {"arc_challenge": "test_9", "boolq": "validation-9", "hellaswag": "validation-4-9", "piqa": "validation-9"}


def test_items_of_one_passage_or_source_share_their_source(bases: dict[str, TinyBase], rows: dict[str, Path], tmp_path: Path) -> None:
    """Made-up HellaSwag is from one source, each BoolQ question has a passage of its own unless it is written twice; PIQA names none."""
    twice = pq.read_table(rows["benchmark:boolq"] / "validation.parquet").to_pylist()
    twice[3]["passage"] = twice[0]["passage"]
    write_rows(tmp_path, "validation", twice)
    _, items = score(bases["llama"], rows | {"benchmark:boolq": tmp_path}, "boolq", "hellaswag", "piqa")
    boolq, hellaswag, piqa = (items[items["benchmark"] == name]["source"] for name in ("boolq", "hellaswag", "piqa"))
    assert boolq.nunique() == len(boolq) - 1 and boolq.iloc[0] == boolq.iloc[3]
    assert hellaswag.nunique() == 1 and set(piqa) == {""}


def test_the_items_frame_is_what_the_store_writes(bases: dict[str, TinyBase], rows: dict[str, Path], tmp_path: Path) -> None:
    """The store's schema takes the frame as it is, and the scores fit a record."""
    from olora_bench.store import EvalRecord, Store
    from olora_bench.store.record import Score

    scores, items = score(bases["llama"], rows, "boolq", "piqa", limit=1)
    now = "2026-01-01T00:00:00+00:00"
    record = EvalRecord(
        eval_id="0" * 16, base="tiny", status="done", identity={}, config={}, provenance={}, scores=scores, started_at=now, finished_at=now,
        missing={f"scores.{b}.stderr.{m}": "a single item" for b, one in scores.items() for m, e in one.stderr.items() if e is None},
    )  # fmt: skip
    assert isinstance(record.scores["boolq"], Score)
    store = Store(tmp_path)
    store.write_eval(record, items)
    assert store.read_items(None, "tiny", "0" * 16).shape == items.shape


def test_gold_logprob_is_the_mean_over_items_of_the_gold_choice(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """Read back from the items."""
    scores, items = score(bases["gemma"], rows, "openbookqa")
    gold = [lls[g] for lls, g in zip(items.loglikelihoods, items.gold, strict=True)]
    assert scores["openbookqa"].gold_logprob == pytest.approx(sum(gold) / len(gold))
    assert scores["openbookqa"].items == 10
    assert scores["openbookqa"].chance == 0.25


def test_a_score_far_below_chance_and_cut_prompts_are_warned_of(bases: dict[str, TinyBase], tmp_path: Path) -> None:
    """Gold is put on the choice the model likes least, and one passage is longer than the model."""
    text = "amber barn candle. "
    passages = [f"{text}{i}" for i in range(20)] + [text * 100]
    table = [{"question": "is it", "passage": p, "idx": i, "label": 0} for i, p in enumerate(passages)]
    write_rows(tmp_path, "validation", table)
    _, items = score(bases["llama"], {"benchmark:boolq": tmp_path}, "boolq")
    write_rows(tmp_path, "validation", [{**r, "label": int(1 - p)} for r, p in zip(table, items.prediction, strict=True)])
    scores, _ = score(bases["llama"], {"benchmark:boolq": tmp_path}, "boolq")
    assert scores["boolq"].truncated == 1
    assert scores["boolq"].warnings == [
        "acc 0.000 is more than 2 standard errors (0.109 each) below chance (0.500): check the prompt and the tokenizer",
        "1 of 21 items had a prompt longer than the model's 256 tokens and lost its beginning",
    ]


def test_what_is_said_of_tokens_counts_the_tasks_own_items() -> None:
    """A cut says that BOS stays, where there is one; a border that merges says whose cut it is."""
    from types import SimpleNamespace

    from olora_bench.evaluation.scores import _about_tokens
    from olora_bench.models import SpecialTokens

    scorer: Any = SimpleNamespace(
        special=SpecialTokens(1, 1, False),
        max_length=64,
        empty=set(),
        truncated={("boolq", 0), ("piqa", 0)},
        merged={("boolq", 0), ("boolq", 3)},
    )
    assert _about_tokens("boolq", 9, scorer) == [
        "1 of 9 items had a prompt longer than the model's 64 tokens and lost its beginning; BOS stays in front, where lm-eval cuts it too",
        "2 of 9 items have a prompt whose last token merges with a choice; the cut between them is lm-eval's, "
        "which may lose or double a piece of text there (training takes the text as written)",
    ]
    assert _about_tokens("winogrande", 9, scorer) == []


def test_a_choice_without_tokens_is_warned_of(bases: dict[str, TinyBase], tmp_path: Path) -> None:
    """An empty choice would stop lm-eval's HFLM; here it counts as log-likelihood 0, and is said."""
    base = bases["mistral"]
    write_rows(tmp_path, "validation", [{"sentence": "The _", "option1": "amber", "option2": "barn", "answer": "1"}] * 2)
    scores, items = score(base, {"benchmark:winogrande": tmp_path}, "winogrande")
    context_only = len(base.tokenizer.encode("The amber ")) == len(base.tokenizer.encode("The amber"))
    expected = ["2 of 2 items have a choice that adds no token to its prompt; its log-likelihood counts as 0"] if context_only else []
    assert scores["winogrande"].warnings == expected
    assert context_only == (items.loglikelihoods[0] == [0.0, 0.0])


def test_the_model_is_left_in_mode_and_precision(bases: dict[str, TinyBase], rows: dict[str, Path]) -> None:
    """Scoring in bf16 computes in bf16, and puts back the very tensors of before; training mode returns too."""
    base = bases["llama"]
    before = {name: (p.data_ptr(), p.dtype) for name, p in base.model.named_parameters()}
    _, exact = score(base, rows, "piqa")
    base.model.model.train()
    _, rounded = score(base, rows, "piqa", dtype="bf16")
    assert base.model.model.layers[0].training
    base.model.eval()
    assert {name: (p.data_ptr(), p.dtype) for name, p in base.model.named_parameters()} == before
    difference = np.abs(np.array(exact.loglikelihoods.tolist()) - np.array(rounded.loglikelihoods.tolist())).max()
    assert difference > 1e-4
    _, again = score(base, rows, "piqa")
    assert again.equals(exact)


def test_a_failure_while_scoring_leaves_the_model_as_it_was(
    bases: dict[str, TinyBase], rows: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory in a forward pass: the weights are back in their precision."""
    base = bases["llama"]

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(base.model.model, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError, match="planted"):
            score(base, rows, "piqa", dtype="bf16")
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}
