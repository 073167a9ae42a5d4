"""A folder of the user's: Hub layout, plain parquet, digests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olora_bench.assets import check, fetch, layout, resolve
from olora_bench.assets.layout import pick
from olora_bench.errors import BadInput, MissingAssets

ROWS = [{"sentence": f"A told B that _ won {n}.", "option1": "A", "option2": "B", "answer": "1"} for n in range(5)]
ALPACA = [{"instruction": f"Add {n}.", "input": "", "output": f"{n}", "text": "rendered"} for n in range(4)]
WINO = "data=commonsense", "data.benchmarks=[winogrande]", "data.decontaminate=[winogrande]", "suite.benchmarks=[winogrande]"


def _put(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        path.write_text(json.dumps(rows))


@pytest.fixture
def local(make, tmp_path):
    def made(*overrides: str):
        return make("assets=[local]", f"machine.local_dir={tmp_path / 'local'}", *overrides)

    return made


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (
            "allenai/winogrande/winogrande_xl/train-00000-of-00001.parquet",
            "allenai/winogrande/winogrande_xl/validation-00000-of-00001.parquet",
        ),
        ("allenai/winogrande/data/train.jsonl", "allenai/winogrande/data/dev.jsonl"),
        ("winogrande/winogrande_xl/train.parquet", "winogrande/winogrande_xl/validation.parquet"),
    ],
)
def test_benchmark_layouts(local, tmp_path, train, validation):
    """A benchmark is served from a folder in Hub layout and from one of plain parquet files."""
    _put(tmp_path / "local" / train, ROWS)
    _put(tmp_path / "local" / validation, ROWS[:2])
    experiment = local("model=tiny_tinyllama", *WINO)
    assets = resolve(experiment)
    check(experiment, assets)
    folder = fetch(experiment, assets)["benchmark:winogrande"]
    assert assets["benchmark:winogrande"].source == "local" and assets["benchmark:winogrande"].identity.startswith("sha256:")
    assert pq.read_table(folder / "train.parquet").to_pylist() == ROWS
    assert pq.read_table(folder / "validation.parquet").to_pylist() == ROWS[:2]


def test_shards_are_joined_in_order(local, tmp_path):
    """The shards of a split become one file, in the order of their numbers."""
    for n in range(3):
        _put(tmp_path / "local" / f"allenai/winogrande/winogrande_xl/train-0000{n}-of-00003.parquet", ROWS[n : n + 1])
    _put(tmp_path / "local" / "allenai/winogrande/winogrande_xl/validation-00000-of-00001.parquet", ROWS)
    experiment = local("model=tiny_tinyllama", *WINO)
    folder = fetch(experiment, resolve(experiment))["benchmark:winogrande"]
    assert pq.read_table(folder / "train.parquet").to_pylist() == ROWS[:3]


def test_split_in_two_folders_is_refused():
    """A split that lies in two folders may be there twice: refused with both names."""
    with pytest.raises(BadInput) as caught:
        layout.pick(["a/train.parquet", "b/train.parquet"], None, ["train"])
    assert str(caught.value) == "the train split lies in several folders (a, b): keep one, they may be copies of the same rows"


@pytest.mark.parametrize(
    "name", ["tatsu-lab/alpaca/data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", "alpaca/train.parquet", "alpaca/alpaca_data.json"]
)
def test_alpaca_layouts(local, tmp_path, name):
    """Alpaca is served from the Hub's layout, from parquet and from the authors' JSON file, in its three own columns."""
    _put(tmp_path / "local" / name, ALPACA)
    experiment = local("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")
    assets = resolve(experiment)
    folder = fetch(experiment, assets)["data:alpaca"]
    assert list(assets) == ["model:tiny_tinyllama", "data:alpaca"]
    assert pq.read_table(folder / "train.parquet").to_pylist() == [{k: v for k, v in row.items() if k != "text"} for row in ALPACA]


def test_identity_follows_content_only(local, tmp_path):
    """The identity is the content's: it stays when files move to another layout, and changes with one row."""
    plain, hub = tmp_path / "local/winogrande/winogrande_xl", tmp_path / "local/allenai/winogrande/winogrande_xl"
    _put(plain / "train.parquet", ROWS)
    _put(plain / "validation.parquet", ROWS)
    experiment = local("model=tiny_tinyllama", *WINO)
    before = resolve(experiment)["benchmark:winogrande"].identity
    hub.parent.mkdir(parents=True)
    plain.rename(hub)
    for split in ("train", "validation"):
        (hub / f"{split}.parquet").rename(hub / f"{split}-00000-of-00001.parquet")
    assert resolve(experiment)["benchmark:winogrande"].identity == before
    _put(hub / "train-00000-of-00001.parquet", ROWS[:-1])
    assert resolve(experiment)["benchmark:winogrande"].identity != before


def test_digest_is_remembered_by_size_and_time(local, tmp_path, monkeypatch):
    """A file is read once for its digest, and again when its time changes."""
    path = tmp_path / "local/alpaca/train.parquet"
    _put(path, ALPACA)
    experiment = local("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")
    read: list[Path] = []
    from olora_bench.assets import cache

    real = cache.sha256
    monkeypatch.setattr(cache, "sha256", lambda p: read.append(p) or real(p))
    resolve(experiment), resolve(experiment)
    assert len(read) == 1
    os.utime(path, ns=(1, 1))
    resolve(experiment)
    assert len(read) == 2


def test_split_that_is_needed_and_not_there(local, tmp_path):
    """A local folder without a split that the experiment needs is named with what it has and what to put there."""
    _put(tmp_path / "local/winogrande/winogrande_xl/validation.parquet", ROWS)
    experiment = local("model=tiny_tinyllama", *WINO)
    with pytest.raises(MissingAssets) as caught:
        check(experiment, resolve(experiment))
    folder = tmp_path / "local/winogrande/winogrande_xl"
    assert str(caught.value).splitlines()[1:4] == [
        "  benchmark:winogrande",
        f"    source: local ({folder}); it has validation, no train",
        "    brings it: put train.parquet there, or leave local out of assets",
    ]


ENDINGS = "allowed endings: .parquet, .jsonl, .json, .csv, .tsv"


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone.jsonl"))


@pytest.mark.parametrize(
    ("name", "make_it", "said"),
    [
        ("train.jsonl.gz", Path.touch, "train.jsonl.gz"),
        ("train.JSONL", Path.touch, "train.JSONL"),
        ("train.txt", Path.touch, "train.txt"),
        ("train.jsonl", Path.mkdir, "train.jsonl (a folder)"),
        ("train.jsonl", _link_to_nothing, "train.jsonl (a link to nothing)"),
    ],
)
def test_what_is_there_and_is_no_file_of_rows_is_named(local, tmp_path, name, make_it, said):
    """With the endings that are allowed, in the folder that is passed over; what says a split comes first."""
    folder = tmp_path / "local/alpaca"
    folder.mkdir(parents=True)
    (folder / "README.md").touch()
    make_it(folder / name)
    with pytest.raises(MissingAssets) as caught:
        resolve(local("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none"))
    assert str(caught.value).splitlines()[1:4] == [
        "  data:alpaca",
        f"    source: none; none of assets=[local] has it; {folder} is passed over: "
        f"no file of rows is there, only {said}, README.md ({ENDINGS})",
        f"    brings it: unpack, convert or rename it to e.g. {folder}/train.jsonl, or add hub to assets",
    ]


def test_a_split_in_a_form_that_is_not_read_is_named_beside_those_that_are(local, tmp_path):
    """The packed train split of a benchmark whose validation split is read."""
    folder = tmp_path / "local/winogrande/winogrande_xl"
    _put(folder / "validation.parquet", ROWS)
    (folder / "train.jsonl.gz").touch()
    experiment = local("model=tiny_tinyllama", *WINO)
    with pytest.raises(MissingAssets) as caught:
        check(experiment, resolve(experiment))
    assert str(caught.value).splitlines()[2] == (
        f"    source: local ({folder}); it has validation, no train; train.jsonl.gz is read as no rows ({ENDINGS})"
    )


def test_another_file_is_not_taken_for_a_train_file_that_cannot_be_read(local, tmp_path):
    """A file that says no split, beside a packed one that says train."""
    folder = tmp_path / "local/alpaca"
    _put(folder / "other.jsonl", ALPACA)
    (folder / "train.jsonl.gz").touch()
    with pytest.raises(BadInput) as caught:
        resolve(local("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none"))
    assert str(caught.value) == (
        f"{folder} has train.jsonl.gz, which is no file of rows ({ENDINGS}), and other.jsonl, which says no split. "
        "Unpack, convert or rename the one that is meant to e.g. train.jsonl, or take the other away"
    )


def test_file_that_is_not_what_its_name_says(local, tmp_path):
    """A local file that is no parquet is refused with its path."""
    _put(tmp_path / "local/alpaca/train.parquet", ALPACA)
    (tmp_path / "local/alpaca/train.parquet").write_bytes(b"not parquet")
    experiment = local("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")
    with pytest.raises(BadInput, match=r"local/alpaca/train\.parquet cannot be read as rows: truncated or no Parquet file"):
        fetch(experiment, resolve(experiment))


def test_model_folder_in_hub_layout(local, tmp_path):
    """A model is served from its folder itself, once configuration, all shards and a tokenizer are there; a README does not count."""
    folder = tmp_path / "local/HuggingFaceTB/SmolLM2-135M-Instruct"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model-00001-of-00002.safetensors"):
        (folder / name).write_text(name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )
    experiment = local("model=smollm2_135m", "data=made_up", "suite=none")
    with pytest.raises(MissingAssets, match=r"none of assets=\[local\] has it"):
        resolve(experiment)
    assert layout.model_problem(folder) == "1 of 2 weight files are missing (model-00002-of-00002.safetensors)"
    (folder / "model-00002-of-00002.safetensors").write_text("more")
    asset = resolve(experiment)["model:smollm2_135m"]
    (folder / "README.md").write_text("words")
    assert resolve(experiment)["model:smollm2_135m"] == asset and asset.source == "local"
    assert fetch(experiment, resolve(experiment))["model:smollm2_135m"] == folder


def test_reference_folder_serves_everything(local, make, monkeypatch):
    """The reference data folder, given as it is, serves Alpaca and all seven benchmarks."""
    if (folder := os.environ.get("OLORA_BENCH_TEST_DATA")) is None:
        pytest.skip("OLORA_BENCH_TEST_DATA is not set")
    names = "arc_challenge,arc_easy,openbookqa,boolq,hellaswag,piqa,winogrande"
    experiment = make("assets=[local]", f"machine.local_dir={folder}", "model=tiny_tinyllama", "data=alpaca", f"suite.benchmarks=[{names}]")
    assets = resolve(experiment)
    check(experiment, assets)
    assert {a.source for a in assets.values()} == {"generated", "local"} and len(assets) == 9
    folders = fetch(experiment, assets)
    for key, path in folders.items():
        if key.startswith("benchmark:"):
            benchmark = experiment.benchmarks[key.partition(":")[2]]
            assert pq.read_metadata(path / f"{benchmark.report_split}.parquet").num_rows == benchmark.items
    assert pq.read_metadata(folders["data:alpaca"] / "train.parquet").num_rows == 52002


def test_a_dev_split_beside_a_validation_split_is_another_one() -> None:
    """As MMLU has them: five examples in dev, and no train split."""
    names = [f"anatomy/{split}-00000-of-00001.parquet" for split in ("dev", "test", "validation")]
    assert pick(names, "anatomy", ("train", "validation", "test")) == {"validation": names[2:], "test": names[1:2]}
    assert pick(names[:2], "anatomy", ("validation", "test")) == {"validation": names[:1], "test": names[1:2]}
