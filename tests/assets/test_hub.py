"""The Hub as it is: every model and data set of conf/ through resolve, check and fetch, over HTTP."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from hub_door import BESIDE, NO_DATA, TINYLLAMA, Door
from hub_repositories import COLUMNS, PICKLED, SHARDED, specs
from hub_stand_in import TOKEN, Repository

from olora_bench.assets import hub, made_up, resolve


@pytest.mark.parametrize("name", specs("model"))
def test_every_model(name: str, door: Door) -> None:
    """Each model of conf/ comes at its pinned commit with configuration, tokenizer and one copy of its weights, byte for byte."""
    door.monkeypatch.setenv("HF_TOKEN", TOKEN)
    source = specs("model")[name]["hub"]
    folder = door.model(name)
    there = door.hub.repositories[source["id"]]
    weights = {n for n in there.files if n.startswith("model") or (n == "pytorch_model.bin" and source["id"] in PICKLED)}
    tokenizer = {"vocab.json", "merges.txt"} if source["id"] in PICKLED else {"tokenizer.json", "tokenizer.model"}
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {n: there.files[n] for n in BESIDE | tokenizer | weights}
    assert folder.name == source["revision"] and len(weights) == (3 if source["id"] in SHARDED else 1)
    asset = resolve(door.experiment(f"model={name}", *NO_DATA))[f"model:{name}"]
    assert asset.identity == f"{source['id']}@{source['revision']}"


def test_every_benchmark(door: Door) -> None:
    """The benchmarks of conf/ come split by split, parts in order, each out of its own configuration's folder."""
    names = ",".join(specs("benchmark"))
    folders = door.bring("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", f"suite.benchmarks=[{names}]")
    for name, spec in specs("benchmark").items():
        for split in ("train", "validation", spec["report_split"]):
            rows = pq.read_table(folders[f"benchmark:{name}"] / f"{split}.parquet").to_pylist()
            assert rows == made_up.rows(spec["task"], split)


@pytest.mark.parametrize("name", specs("data"))
def test_every_data_set(name: str, door: Door) -> None:
    """Each instruction data set of conf/ comes as its three columns, be it Parquet or a list in JSON."""
    folder = door.bring("model=tiny_tinyllama", f"data={name}", "data.decontaminate=[]", "suite=none")[f"data:{name}"]
    rows = made_up.rows("instructions", "train")
    assert pq.read_table(folder / "train.parquet").to_pylist() == [{column: row[column] for column in COLUMNS} for row in rows]


def test_second_time_nothing_is_asked(door: Door) -> None:
    """What came once is resolved, checked and fetched without a request; also offline, with the Hub gone, the converted rows too."""
    everything_here = ("model=opt_1.3b", "data=alpaca", "data.decontaminate=[]", "suite.benchmarks=[piqa,boolq]")
    first, asked = door.bring(*everything_here), len(door.hub.asked)
    assert door.bring(*everything_here) == first and len(door.hub.asked) == asked
    door.offline()
    assert door.bring(*everything_here) == first
    shutil.rmtree(door.cache / "rows")
    assert door.bring(*everything_here) == first and len(door.hub.asked) == asked


def test_library_finds_what_was_fetched(door: Door) -> None:
    """`snapshot_download` takes the files over as its own and asks for none of them again."""
    folder, sent = door.model(), dict(door.hub.sent)
    theirs = huggingface_hub.snapshot_download(TINYLLAMA, revision=folder.name, allow_patterns=["*.safetensors", "config.json"])
    assert Path(theirs) == folder and {n: door.hub.sent.get(n) for n in sent} == sent


def test_login_stays_at_the_hub(door: Door) -> None:
    """The token goes to the Hub, never to the host that the Hub sends a download on to."""
    door.monkeypatch.setenv("HF_TOKEN", TOKEN)
    door.model("gemma_2b")
    assert door.hub.tokens == {"hub": {f"Bearer {TOKEN}"}, "cdn": {None}}


def test_repository_that_was_renamed(door: Door) -> None:
    """An old name is followed to the new one."""
    door.hub.repositories["new/name"] = door.hub.repositories.pop(TINYLLAMA)
    door.hub.moved[TINYLLAMA] = "new/name"
    assert (door.model() / "model.safetensors").read_bytes() == door.hub.repositories["new/name"].files["model.safetensors"]


def test_file_name_is_no_pattern(door: Door) -> None:
    """A file whose name holds what patterns are made of comes as any other."""
    there = door.hub.repositories["datasets/tatsu-lab/alpaca"]
    there.files = {"data/train-[a]*.parquet": next(d for n, d in there.files.items() if n.endswith("parquet"))}
    assert door.bring("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")


def test_a_data_set_is_named_on_the_command_line_with_its_own_splits(door: Door) -> None:
    """At the head that the Hub names, or at a commit; a split that is not asked for is not fetched, and one that is not there is said."""
    rows = {
        f"data/{split}.jsonl": f'{{"instruction": "of {split}", "output": "b"}}\n'.encode() for split in ("train", "validation", "test")
    }
    door.hub.repositories["datasets/me/rows"] = there = Repository("a" * 40, rows)
    asked = ("model=tiny_tinyllama", "data=file", "suite=none", "data.tune_split=validation")
    for named in ("me/rows", f"me/rows@{there.commit}"):
        folder = door.bring(*asked, f"data.hub={named}", "data.report_size=1")["data:file"]
        found = {path.stem: pq.read_table(path)["instruction"].to_pylist() for path in folder.glob("*.parquet")}
        assert found == {"train": ["of train"], "tune": ["of validation"]} and "test.jsonl" not in str(door.hub.asked)
    del there.files["data/test.jsonl"]
    there.commit = "b" * 40
    assert f"me/rows@{there.commit} has no test split; it has data/train.jsonl, data/validation.jsonl" in door.refusal(
        *asked, f"data.hub=me/rows@{there.commit}", "data.report_split=test"
    )


def test_unpinned_repository(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """A null revision is looked up once in a process; offline the last head is taken, and that is said."""
    there = door.hub.repositories[TINYLLAMA]
    first = door.model("tinyllama", "model.hub.revision=null")
    door.model("tinyllama", "model.hub.revision=null")
    assert first.name == there.commit and door.hub.asked.count(f"GET /api/models/{TINYLLAMA}") == 1
    door.offline()
    assert door.model("tinyllama", "model.hub.revision=null") == first
    words = f"assets: {TINYLLAMA} is unpinned and HF_HUB_OFFLINE is set; taking {there.commit}, its head when it was last asked\n"
    assert words in capsys.readouterr().err


def test_two_at_once(door: Door) -> None:
    """Two who want the same model download it once."""
    there = door.hub.repositories[TINYLLAMA]
    source = door.experiment("model=tinyllama", *NO_DATA).model.hub
    threads = [threading.Thread(target=hub.fetch_model, args=(source, there.commit)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hub.fetch_model(source, there.commit).is_dir()
    assert door.hub.sent["model.safetensors"] == len(there.files["model.safetensors"])
