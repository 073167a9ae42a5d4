from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_rows import SIX, read_benchmarks, row, sentence, write_benchmarks, write_rows

from olora_bench.config import Experiment
from olora_bench.config.compose import compose, load
from olora_bench.data import Parts, benchmark_tasks, build_parts
from olora_bench.data.encoding import encode_pairs
from olora_bench.errors import BadInput, MissingAssets
from olora_bench.models.tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer(4096)
SMALL = ("data.train_size=18", "data.tune_size=6", "data.report_size=6", "data.cutoff=1000", "data.decontaminate=[]")


def experiment(*overrides: str) -> Experiment:
    return load(compose(["model=tinyllama", "suite=none", *overrides]))


def mixture(*overrides: str) -> Experiment:
    return experiment("data=made_up", *SMALL, *overrides)


def alpaca(*overrides: str) -> Experiment:
    return experiment("data=alpaca", *SMALL, *overrides)


def ids(parts: Parts) -> dict[str, list[str]]:
    return {part: [f"{e.group}/{e.id}" for e in getattr(parts, part)] for part in ("train", "tune", "report")}


def text(ids_: np.ndarray) -> str:
    return str(TOKENIZER.decode(ids_))


@pytest.fixture
def instructions(tmp_path: Path) -> dict[str, Path]:
    rng = random.Random(0)
    table = [{"instruction": sentence(rng, 12), "input": sentence(rng, 3) if i % 2 else "", "output": sentence(rng, 4)} for i in range(40)]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "train.parquet")
    return {"data:alpaca": tmp_path}


def test_parts_hang_on_split_seed_and_not_on_seed(rows: dict[str, Path]) -> None:
    """Another seed, model or suite leaves every id in its part; another split_seed does not."""
    first = ids(build_parts(mixture(), rows, TOKENIZER))
    assert ids(build_parts(mixture("seed=7", "suite=commonsense6_made_up", "init=olora"), rows, TOKENIZER)) == first
    assert ids(build_parts(mixture("data.split_seed=1"), rows, TOKENIZER)) != first


def test_parts_are_disjoint_and_balanced(rows: dict[str, Path]) -> None:
    """No id is in two parts; tune comes from train; each benchmark gives its share."""
    parts = build_parts(mixture(), rows, TOKENIZER)
    found = ids(parts)
    everything = [i for part in found.values() for i in part]
    assert len(everything) == len(set(everything)) == 30
    assert parts.counts["train"]["by_group"] == dict.fromkeys(sorted(SIX), 3)
    assert parts.counts["tune"]["by_group"] == parts.counts["report"]["by_group"] == dict.fromkeys(sorted(SIX), 1)
    assert all("/train" in i for part in ("train", "tune") for i in found[part])
    assert not any("/train" in i for i in found["report"])


@pytest.mark.parametrize("kind", ["mixture", "alpaca"])
def test_a_block_draws_train_and_tune_anew_and_leaves_the_report_part(
    kind: str, rows: dict[str, Path], instructions: dict[str, Path]
) -> None:
    """Of every block the report part is the same to the last token, the others differ, and no id is in two parts."""
    make, paths = (mixture, rows) if kind == "mixture" else (alpaca, instructions)
    built = [build_parts(make(*block), paths, TOKENIZER) for block in ((), ("data.block=0",), ("data.block=10",), ("data.block=11",))]
    found = [ids(parts) for parts in built]
    assert all(one["report"] == found[0]["report"] for one in found)
    assert all((a.input_ids == b.input_ids).all() for parts in built[1:] for a, b in zip(parts.report, built[0].report, strict=True))
    for part in ("train", "tune"):
        assert len({frozenset(one[part]) for one in found}) == 4
    assert all(len({i for part in one.values() for i in part}) == 30 for one in found)
    assert all(parts.counts[part]["by_group"] == built[0].counts[part]["by_group"] for parts in built for part in parts.counts)


def test_a_block_hangs_on_split_seed_too(rows: dict[str, Path]) -> None:
    one, other = (ids(build_parts(mixture("data.block=3", f"data.split_seed={seed}"), rows, TOKENIZER)) for seed in (0, 1))
    assert all(one[part] != other[part] for part in one)


def test_a_prompt_is_the_request_that_lm_eval_scores(rows: dict[str, Path]) -> None:
    """For each item of all six tasks: tokens and supervised tokens are those of the gold request that lm-eval builds."""
    experiment_ = mixture("data.report_size=36", "data.cutoff=4000")
    parts = build_parts(experiment_, rows, TOKENIZER)
    examples = {(e.group, e.id.rsplit("-", 1)[-1].rsplit("_", 1)[-1]): e for e in parts.report}
    assert len(examples) == 36
    for name, task in benchmark_tasks(read_benchmarks(), rows, 0).items():
        task.build_all_requests()
        for request in task.instances:
            gold = task.doc_to_text(request.doc) if name == "winogrande" else task.doc_to_target(request.doc)
            if request.idx != gold:
                continue
            example = examples[name, str(request.doc_id)]
            context, continuation = encode_pairs(TOKENIZER, [request.args])[0]
            assert example.input_ids.tolist() == context + continuation
            assert example.input_ids[example.supervised].tolist() == continuation


def test_overlap_with_any_scored_item_is_removed_and_counted(tmp_path: Path) -> None:
    """Copies of scored items in a train split, word for word or with other choices, are neither trained nor tuned on."""
    paths = write_benchmarks(tmp_path, ("piqa", "openbookqa"), train=20, report=5)
    scored = pq.read_table(tmp_path / "openbookqa" / "test.parquet").to_pylist()
    train = pq.read_table(tmp_path / "openbookqa" / "train.parquet").to_pylist()
    near = [{**r, "id": f"near_{i}", "choices": {**r["choices"], "text": ["x"] * len(r["choices"]["text"])}} for i, r in enumerate(scored)]
    write_rows(tmp_path / "openbookqa", "train", [*train, *({**r, "id": f"exact_{i}"} for i, r in enumerate(scored)), *near])
    sizes = ("data.train_size=null", "data.tune_size=4", "data.report_size=2")
    parts = build_parts(mixture("data.benchmarks=[piqa,openbookqa]", *sizes), paths, TOKENIZER)
    removed = [(parts.counts[p]["removed_exact"], parts.counts[p]["removed_near"]) for p in ("train", "tune")]
    assert [sum(column) for column in zip(*removed, strict=True)] == [5, 5]
    assert not any("exact_" in i or "near_" in i for part in ids(parts).values() for i in part)
    assert len(parts.train) == 40 - 4


def test_instructions_that_repeat_a_benchmark_are_removed(instructions: dict[str, Path], rows: dict[str, Path]) -> None:
    """With data.decontaminate, an instruction that holds an ARC question goes; without, it stays."""
    folder = instructions["data:alpaca"]
    question = pq.read_table(rows["benchmark:arc_challenge"] / "test.parquet").to_pylist()[0]["question"]
    table = [*pq.read_table(folder / "train.parquet").to_pylist(), {"instruction": f"Answer: {question}", "input": "", "output": "amber"}]
    write_rows(folder, "train", table)
    everything = ("data.train_size=null", "data.tune_size=2", "data.report_size=2")
    kept = build_parts(alpaca(*everything), instructions, TOKENIZER)
    clean = build_parts(alpaca(*everything, "data.decontaminate=[arc_challenge]"), instructions | rows, TOKENIZER)
    assert sum(len(v) for v in ids(kept).values()) == 41
    left = [i for part in ids(clean).values() for i in part]
    assert len(left) == 40 and "alpaca/train-40" not in left
    assert clean.counts["train"]["removed_near"] + clean.counts["tune"]["removed_near"] == 1


def test_the_authors_template_drops_input_and_trains_on_everything(instructions: dict[str, Path]) -> None:
    """Text as the author's example renders it, EOS at the end, all but the first token supervised."""
    parts = build_parts(alpaca("data.template=author_no_input", "data.supervise=full"), instructions, TOKENIZER)
    first = pq.read_table(instructions["data:alpaca"] / "train.parquet").to_pylist()[int(parts.train[0].id.removeprefix("train-"))]
    assert text(parts.train[0].input_ids) == (
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n"
        f"            ### Instruction:\n            {first['instruction']}\n            ### Response:\n            {first['output']}</s>"
    )
    assert parts.train[0].supervised.tolist() == [False] + [True] * (len(parts.train[0].input_ids) - 1)


def test_alpacas_template_keeps_input_and_supervises_the_response(instructions: dict[str, Path]) -> None:
    """With and without an input, as Alpaca's own text column has it; the response and EOS are supervised."""
    parts = build_parts(alpaca(), instructions, TOKENIZER)
    table = pq.read_table(instructions["data:alpaca"] / "train.parquet").to_pylist()
    seen = set()
    for example in parts.train:
        doc = table[int(example.id.removeprefix("train-"))]
        given = f"### Input:\n{doc['input']}\n\n" if doc["input"] else ""
        assert text(example.input_ids).endswith(
            f"request.\n\n### Instruction:\n{doc['instruction']}\n\n{given}### Response:\n{doc['output']}</s>"
        )
        assert text(example.input_ids[example.supervised]) == f"\n{doc['output']}</s>"
        seen.add(bool(doc["input"]))
    assert seen == {True, False}


def test_benchmarks_lose_their_beginning_and_instructions_their_end(rows: dict[str, Path], instructions: dict[str, Path]) -> None:
    """At the cutoff, a benchmark prompt keeps BOS and its answer; an instruction without room for a response is dropped."""
    cut = build_parts(
        mixture(
            "data.benchmarks=[boolq]", "data.train_size=2", "data.tune_size=2", "data.report_size=2", "data.cutoff=20", "recipe.steps=9"
        ),
        rows,
        TOKENIZER,
    )
    assert cut.counts["train"]["truncated"] == 2 and all(len(e.input_ids) == 20 for e in cut.train)
    assert all(text(e.input_ids).endswith(("Answer: yes", "Answer: no")) for e in cut.train)
    assert all(text(e.input_ids[:1]) == "<s>" and "<s>" not in text(e.input_ids[1:]) for e in cut.train)
    with pytest.raises(BadInput) as caught:
        build_parts(alpaca("data.cutoff=20"), instructions, TOKENIZER)
    assert str(caught.value) == (
        "data=alpaca leaves no example in its train part: 18 were empty after data.cutoff=20. Raise data.cutoff or use other data"
    )
    whole = build_parts(alpaca(), instructions, TOKENIZER).train
    longest = max(range(18), key=lambda i: len(whole[i].input_ids))
    cutoff = len(whole[longest].input_ids) - 3
    cut_ = build_parts(alpaca(f"data.cutoff={cutoff}"), instructions, TOKENIZER)
    assert cut_.counts["train"]["truncated"] == sum(len(e.input_ids) > cutoff for e in whole) > 0
    assert cut_.train[longest].input_ids.tolist() == whole[longest].input_ids[:cutoff].tolist()


def test_rows_that_are_all_the_same_leave_no_part_to_train_on(tmp_path: Path) -> None:
    """The cause is named, wherever the copies were counted."""
    write_rows(tmp_path, "train", [{"instruction": "Name one.", "input": "", "output": "amber"}] * 12)
    sizes = ("data.train_size=4", "data.tune_size=2", "data.report_size=2")
    with pytest.raises(BadInput) as caught:
        build_parts(alpaca(*sizes), {"data:alpaca": tmp_path}, TOKENIZER)
    assert str(caught.value) == (
        "data=alpaca leaves no example in its train part: 10 rows are those of the tune and report parts again "
        "(10 word for word, 0 nearly) and were taken out. Use data with more rows that differ"
    )


def test_a_part_larger_than_its_data_is_refused(rows: dict[str, Path]) -> None:
    """Both messages say how many items there are."""
    with pytest.raises(BadInput) as caught:
        build_parts(mixture("data.report_size=37"), rows, TOKENIZER)
    assert str(caught.value) == "data.report_size=37 is more than the 36 items of data=made_up. Lower it"
    with pytest.raises(BadInput) as caught:
        build_parts(mixture("data.train_size=67"), rows, TOKENIZER)
    assert str(caught.value) == "data.train_size=67 and data.tune_size=6 need 73 items, data=made_up has 72 for them. Lower them"


def test_held_out_parts_that_leave_nothing_are_named(rows: dict[str, Path]) -> None:
    with pytest.raises(BadInput) as caught:
        build_parts(mixture("data.train_size=null", "data.tune_size=72"), rows, TOKENIZER)
    assert str(caught.value) == (
        "data.tune_size=72 leaves nothing to train on of the 72 items of data=made_up. Lower data.tune_size, or use more rows"
    )


def test_a_benchmark_without_a_train_split_cannot_be_trained_on(tmp_path: Path) -> None:
    """The file is named, and the way around."""
    rng = random.Random(0)
    write_rows(tmp_path, "validation", [row("piqa", rng, i, "validation") for i in range(9)])
    with pytest.raises(MissingAssets, match=r"data=made_up trains on piqa: .*train\.parquet is missing\. Run `make assets`"):
        build_parts(mixture("data.benchmarks=[piqa]"), {"benchmark:piqa": tmp_path}, TOKENIZER)


def test_a_file_that_is_not_like_alpaca_is_refused(tmp_path: Path) -> None:
    """Which column it lacks, and which it has."""
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "output": "b"}]), tmp_path / "train.parquet")
    with pytest.raises(BadInput) as caught:
        build_parts(alpaca(), {"data:alpaca": tmp_path}, TOKENIZER)
    assert str(caught.value) == (
        f"{tmp_path / 'train.parquet'} has no column instruction. Needed: instruction, output; input may be absent. "
        "Found: prompt, output. Say which are prompt and answer: data.prompt=prompt data.response=output"
    )


def test_uneven_benchmarks_fill_up_from_each_other(tmp_path: Path) -> None:
    """A benchmark with two train rows gives two; the other gives the rest."""
    paths = write_benchmarks(tmp_path, ("piqa", "boolq"), train=30, report=4)
    write_rows(tmp_path / "piqa", "train", pq.read_table(tmp_path / "piqa" / "train.parquet").to_pylist()[:3])
    sizes = ("data.train_size=20", "data.tune_size=2", "data.report_size=2")
    parts = build_parts(mixture("data.benchmarks=[piqa,boolq]", *sizes), paths, TOKENIZER)
    assert parts.counts["train"]["by_group"] == {"boolq": 18, "piqa": 2}


def test_counts_add_up(rows: dict[str, Path]) -> None:
    """Counted over the examples themselves, and plain JSON."""
    import json

    parts = build_parts(mixture(), rows, TOKENIZER)
    for name in ("train", "tune", "report"):
        examples: list[Any] = getattr(parts, name)
        assert parts.counts[name]["examples"] == len(examples)
        assert parts.counts[name]["tokens"] == sum(len(e.input_ids) for e in examples)
        assert parts.counts[name]["supervised_tokens"] == sum(int(e.supervised.sum()) for e in examples)
    json.dumps(parts.counts, allow_nan=False)
