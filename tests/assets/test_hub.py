"""The Hub as it is: every model and data set of conf/ through resolve, check and fetch, over HTTP and with the faults a network has."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from hub_repositories import COLUMNS, PICKLED, SHARDED, everything, specs
from hub_stand_in import TOKEN, Fault, Hub, Repository, serving, sha256
from huggingface_hub import constants

from olora_bench.assets import check, fetch, hub, made_up, resolve, transfer
from olora_bench.config import Experiment, compose, load
from olora_bench.errors import MissingAssets

TINYLLAMA = specs("model")["tinyllama"]["hub"]["id"]
BESIDE = {"config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"}
NO_DATA = ("data=made_up", "suite=commonsense6_made_up")


@functools.cache
def composed(overrides: tuple[str, ...]) -> Experiment:
    return load(compose(["assets=[hub]", "rank=8", "tracker=none", *overrides]))


@dataclass
class Door:
    """A machine that has only the stand-in for a Hub."""

    hub: Hub
    home: Path
    cache: Path
    monkeypatch: pytest.MonkeyPatch

    def experiment(self, *overrides: str) -> Experiment:
        experiment = composed(overrides)
        return experiment.model_copy(update={"machine": experiment.machine.model_copy(update={"cache_dir": self.cache})})

    def bring(self, *overrides: str) -> dict[str, Path]:
        """What a run does first."""
        experiment = self.experiment(*overrides)
        assets = resolve(experiment)
        check(experiment, assets)
        return fetch(experiment, assets)

    def model(self, name: str = "tinyllama", *overrides: str) -> Path:
        return self.bring(f"model={name}", *NO_DATA, *overrides)[f"model:{name}"]

    def refusal(self, *overrides: str) -> str:
        with pytest.raises(MissingAssets) as caught:
            self.bring(*overrides)
        return str(caught.value)

    def model_refusal(self, name: str = "tinyllama", *overrides: str) -> str:
        return self.refusal(f"model={name}", *NO_DATA, *overrides)

    def offline(self) -> None:
        """As in a process with HF_HUB_OFFLINE=1 and no Hub far and wide."""
        self.hub.close()
        self.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        hub.commit_of.cache_clear()


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The library reads its environment at import, so what it read is patched; test_hub_runs.py sets the environment."""
    with serving({name: replace(there, files=dict(there.files)) for name, there in everything().items()}) as here:
        monkeypatch.setattr(constants, "ENDPOINT", here.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", here.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(transfer, "PAUSES_S", (0.0, 0.0))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        hub.commit_of.cache_clear()
        yield Door(here, tmp_path / "hf" / "hub", tmp_path / "cache", monkeypatch)
        hub.commit_of.cache_clear()


def blobs(door: Door) -> list[Path]:
    return [path for path in door.home.rglob("blobs/*") if path.is_file()]


@pytest.mark.parametrize("name", specs("model"))
def test_every_model(name, door):
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


def test_every_benchmark(door):
    """The benchmarks of conf/ come split by split, parts in order, each out of its own configuration's folder."""
    names = ",".join(specs("benchmark"))
    folders = door.bring("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", f"suite.benchmarks=[{names}]")
    for name, spec in specs("benchmark").items():
        for split in ("train", "validation", spec["report_split"]):
            rows = pq.read_table(folders[f"benchmark:{name}"] / f"{split}.parquet").to_pylist()
            assert rows == made_up.rows(spec["task"], split)


@pytest.mark.parametrize("name", specs("data"))
def test_every_data_set(name, door):
    """Each instruction data set of conf/ comes as its three columns, be it Parquet or a list in JSON."""
    folder = door.bring("model=tiny_tinyllama", f"data={name}", "data.decontaminate=[]", "suite=none")[f"data:{name}"]
    rows = made_up.rows("instructions", "train")
    assert pq.read_table(folder / "train.parquet").to_pylist() == [{column: row[column] for column in COLUMNS} for row in rows]


def test_second_time_nothing_is_asked(door):
    """What came once is resolved, checked and fetched without a request; also offline, with the Hub gone, the converted rows too."""
    everything_here = ("model=opt_1.3b", "data=alpaca", "data.decontaminate=[]", "suite.benchmarks=[piqa,boolq]")
    first, asked = door.bring(*everything_here), len(door.hub.asked)
    assert door.bring(*everything_here) == first and len(door.hub.asked) == asked
    door.offline()
    assert door.bring(*everything_here) == first
    shutil.rmtree(door.cache / "rows")
    assert door.bring(*everything_here) == first and len(door.hub.asked) == asked


def test_library_finds_what_was_fetched(door):
    """`snapshot_download` takes the files over as its own and asks for none of them again."""
    folder, sent = door.model(), dict(door.hub.sent)
    theirs = huggingface_hub.snapshot_download(TINYLLAMA, revision=folder.name, allow_patterns=["*.safetensors", "config.json"])
    assert Path(theirs) == folder and {n: door.hub.sent.get(n) for n in sent} == sent


def test_login_stays_at_the_hub(door):
    """The token goes to the Hub, never to the host that the Hub sends a download on to."""
    door.monkeypatch.setenv("HF_TOKEN", TOKEN)
    door.model("gemma_2b")
    assert door.hub.tokens == {"hub": {f"Bearer {TOKEN}"}, "cdn": {None}}


def test_repository_that_was_renamed(door):
    """An old name is followed to the new one."""
    door.hub.repositories["new/name"] = door.hub.repositories.pop(TINYLLAMA)
    door.hub.moved[TINYLLAMA] = "new/name"
    assert (door.model() / "model.safetensors").read_bytes() == door.hub.repositories["new/name"].files["model.safetensors"]


@pytest.mark.parametrize(("name", "page"), [("llama2_7b", "meta-llama/Llama-2-7b-hf"), ("gemma_2b", "google/gemma-2b")])
@pytest.mark.parametrize("token", [None, "hf_of_a_user_without_access"])
def test_gated_repository(name, page, token, door):
    """Without a login (401) or with one that has no access (403) a gated model is refused before anything is downloaded."""
    if token:
        door.monkeypatch.setenv("HF_TOKEN", token)
    commit = specs("model")[name]["hub"]["revision"]
    known = "; this login is known and not on its list yet" if token else ""
    assert door.model_refusal(name) == (
        "1 asset is missing:\n"
        f"  model:{name}\n"
        f"    source: hub ({page}); it is gated: accept its licence at https://huggingface.co/{page}, then `hf auth login`{known}\n"
        f"    brings it: `hf download {page} --repo-type model --revision {commit}` with a connection (and HF_HOME brought here), "
        "or its folder below machine.local_dir\n"
        "Then, or with a connection, fetch all of it ahead:\n"
        f"  python -m olora_bench.assets model={name} data=made_up suite=commonsense6_made_up"
    )
    assert door.hub.sent == {}


@pytest.mark.parametrize("token", [None, TOKEN])
def test_missing_repository(token, door):
    """A repository that is not there is said so, with and without a login."""
    if token:
        door.monkeypatch.setenv("HF_TOKEN", token)
    del door.hub.repositories[TINYLLAMA]
    assert f"hub ({TINYLLAMA}); the Hub does not have it, or not for this login (`hf auth login`)" in door.model_refusal()


def test_old_token(door):
    """A token that the Hub no longer takes is named."""
    door.monkeypatch.setenv("HF_TOKEN", "hf_old")
    words = {"X-Error-Message": "Invalid credentials in Authorization header"}
    door.hub.faults = [Fault("", method="ANY", status=401, headers=words)]
    assert ": `hf auth login`, and no old token in HF_TOKEN" in door.model_refusal()


def test_missing_revision(door):
    """A commit that the repository does not have is named, with the page that lists those it has."""
    there = door.hub.repositories[TINYLLAMA]
    there.commit, pinned = "f" * 40, there.commit
    page = f"https://huggingface.co/{TINYLLAMA}/commits/main"
    assert f"; the Hub has no commit {pinned} of it: set its hub.revision to one of {page}\n" in door.model_refusal()


def test_hub_that_gives_another_commit(door):
    """A mirror that answers with another commit than was asked is not believed."""
    door.hub.faults = [Fault("/resolve/", 10**9, "HEAD", 200, {"X-Repo-Commit": "f" * 40, "ETag": '"abc"'})]
    assert "what answers is not a Hub (" in door.model_refusal() and blobs(door) == []


def test_sign_in_page(door):
    """A page that answers everything, as a hotel's network has it, is no Hub."""
    door.hub.faults = [Fault("", 10**9, "ANY", 200, {"Content-Type": "text/html"})]
    assert "is there a proxy or a sign-in page, or a wrong HF_ENDPOINT?" in door.model_refusal()


@pytest.mark.parametrize("cut", [1, 5000, 16000])
def test_cut_download_goes_on(cut, door, capsys):
    """A connection that breaks costs nothing: what had come is not sent again."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(weights), 3, cut_after=cut)]
    assert (door.model() / "model.safetensors").read_bytes() == weights
    assert door.hub.sent["model.safetensors"] == len(weights)
    assert "the connection to the Hub fails (RemoteProtocolError: " in capsys.readouterr().err


def test_cut_download_goes_on_at_the_next_start(door, capsys):
    """Where the network stays away the command ends with the reason; the same command asks only for what had not come."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(weights), 1, cut_after=9000), Fault(sha256(weights), 3, cut_after=0)]
    assert "cannot be downloaded: the Hub cannot be reached (RemoteProtocolError: " in door.model_refusal()
    assert not any(door.home.rglob("snapshots/*"))
    assert (door.model() / "model.safetensors").read_bytes() == weights
    assert door.hub.sent["model.safetensors"] == len(weights)
    assert f"of {TINYLLAMA} are here already" in capsys.readouterr().err


def test_cut_download_from_a_host_without_parts(door):
    """A host that sends the whole file whatever was asked gets the whole file believed, not its beginning twice."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.ranges, door.hub.faults = False, [Fault(sha256(weights), 1, cut_after=9000)]
    assert (door.model() / "model.safetensors").read_bytes() == weights


def test_part_that_is_longer_than_the_file(door):
    """What lies there from another time and cannot be a beginning is thrown away."""
    weights = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    part = door.home / f"models--{TINYLLAMA.replace('/', '--')}" / "blobs" / f"{sha256(weights)}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(weights) + 1))
    assert (door.model() / "model.safetensors").read_bytes() == weights


def test_rate_limit_is_waited_out(door, capsys):
    """429 with Retry-After is said and waited out, at the check, the listing, the digests and the download."""
    limit = {"Retry-After": "0"}
    door.hub.faults = [Fault(where, 1, "ANY", 429, limit) for where in ("/config.json", "/tree/", "/tokenizer.json", "?X-Amz")]
    assert door.model().is_dir()
    line = "assets: the Hub limits how often it is asked from here and says to wait 0.0s; trying again in 0.0s"
    assert capsys.readouterr().err.count(line) == 3


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "3600"}, {"RateLimit": '"resolvers";r=0;t=3599', "RateLimit-Policy": '"fixed window"'}]
)
def test_long_rate_limit_is_refused(headers, door):
    """A wait that nobody would sit through is said instead."""
    door.hub.faults = [Fault("/tree/", status=429, headers=headers)]
    words = "the Hub limits how often it is asked from here: again in 1h00m, or sooner after `hf auth login`, which raises the limit"
    assert words in door.model_refusal() and len([a for a in door.hub.asked if "/tree/" in a]) == 1


def test_server_errors_pass(door):
    """The Hub's own errors are tried again, at the check too."""
    door.hub.faults = [Fault(where, 1, "ANY", 503) for where in ("/config.json", "/tree/", "/tokenizer.json", "?X-Amz")]
    assert door.model().is_dir()


@pytest.mark.parametrize(("where", "before"), [("/config.json", ""), ("/tree/", f"{TINYLLAMA}@"), ("?X-Amz", "cannot be downloaded: ")])
def test_server_errors_that_stay(where, before, door):
    """Errors that stay are named, with the status; nothing is believed."""
    door.hub.faults = [Fault(where, method="ANY", status=502)]
    message = door.model_refusal()
    assert "the Hub answers with an error of its own (502 Bad Gateway): try again later" in message and before in message
    assert not any(door.home.rglob("snapshots/*"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_wrong_bytes_are_fetched_again(name, door, capsys):
    """Bytes of the right length with another digest are said and fetched once more, of large files and of small ones."""
    data = door.hub.repositories[TINYLLAMA].files[name]
    door.hub.faults = [
        Fault(sha256(data), 1, flip=True) if name.endswith("tensors") else Fault(f"/{name}", 2, flip=True)
    ]  # the redirection takes one
    assert (door.model() / name).read_bytes() == data and door.hub.sent[name] == 2 * len(data)
    assert f"assets: {name} in the Hub cache is corrupt (" in capsys.readouterr().err


def test_wrong_bytes_that_stay_are_refused(door):
    """Bytes that are wrong twice are refused, and nothing of the repository appears in the cache."""
    data = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(data), flip=True)]
    words = "model.safetensors came twice with another digest than the Hub says: something on the way changes it. Try another network"
    assert words in door.model_refusal() and not any(door.home.rglob("snapshots/*"))


def test_wrong_bytes_in_the_cache(door, capsys):
    """Weights in the Hub library's cache that lost their digest are fetched again, rows too."""
    folder = door.model()
    (folder / "model.safetensors").resolve().write_bytes(b"x" * 100)
    assert (door.model() / "model.safetensors").read_bytes() == door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    assert "assets: model.safetensors in the Hub cache is corrupt (" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["model-00002-of-00002.safetensors", "model.safetensors.index.json", "config.json"])
def test_part_of_a_model_in_the_cache(lost, door):
    """A snapshot that another program left half-filled is completed; only what is missing is fetched. Offline it is refused."""
    door.monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = door.model("mistral_7b")
    for name in (lost, "model.safetensors.index.json"):  # without its index nothing but its name tells of a missing part
        (folder / name).unlink(missing_ok=True)
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if lost != "model.safetensors.index.json":
        assert "; HF_HUB_OFFLINE is set" in door.model_refusal("mistral_7b")
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    door.hub.sent.clear()
    if lost != "model.safetensors.index.json":
        assert (door.model("mistral_7b") / lost).is_file() and door.hub.sent == {}


def test_weights_whose_bytes_are_gone(door):
    """A snapshot brought without its blobs is seen as links to nothing."""
    folder = door.model()
    (folder / "model.safetensors").resolve().unlink()
    assert (door.model() / "model.safetensors").is_file()
    (folder / "model.safetensors").resolve().unlink()
    door.offline()
    assert "; HF_HUB_OFFLINE is set" in door.model_refusal()


def test_part_of_a_data_set_in_the_cache(door):
    """One of two parts of a split is not taken for the split."""
    overrides = ("model=tiny_tinyllama", "data=commonsense", "data.benchmarks=[piqa]", "data.decontaminate=[]", "suite=none")
    first = door.bring(*overrides)["benchmark:piqa"]
    rows = pq.read_table(first / "train.parquet").to_pylist()
    shutil.rmtree(door.cache / "rows")
    next(door.home.rglob("train-00000-of-00002.parquet")).unlink()
    assert pq.read_table(door.bring(*overrides)["benchmark:piqa"] / "train.parquet").to_pylist() == rows
    shutil.rmtree(door.cache / "rows")
    next(door.home.rglob("train-00000-of-00002.parquet")).unlink()
    door.offline()
    assert "; HF_HUB_OFFLINE is set" in door.refusal(*overrides)


def test_split_that_was_not_here_when_the_rows_were_made(door):
    """Rows made offline from a cache with one split get the others once they are wanted and the Hub is there."""
    score = ("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite.benchmarks=[piqa]")
    door.bring(*score)
    shutil.rmtree(door.cache / "rows")
    for path in door.home.rglob("train-0000?-of-00002.parquet"):
        path.unlink()
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not (door.bring(*score)["benchmark:piqa"] / "train.parquet").exists()
    door.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    train = ("model=tiny_tinyllama", "data=commonsense", "data.benchmarks=[piqa]", "data.decontaminate=[]", "suite=none")
    assert (door.bring(*train)["benchmark:piqa"] / "train.parquet").is_file()


def test_file_name_is_no_pattern(door):
    """A file whose name holds what patterns are made of comes as any other."""
    there = door.hub.repositories["datasets/tatsu-lab/alpaca"]
    there.files = {"data/train-[a]*.parquet": next(d for n, d in there.files.items() if n.endswith("parquet"))}
    assert door.bring("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")


def test_unpinned_repository(door, capsys):
    """A null revision is looked up once in a process; offline the last head is taken, and that is said."""
    there = door.hub.repositories[TINYLLAMA]
    first = door.model("tinyllama", "model.hub.revision=null")
    door.model("tinyllama", "model.hub.revision=null")
    assert first.name == there.commit and door.hub.asked.count(f"GET /api/models/{TINYLLAMA}") == 1
    door.offline()
    assert door.model("tinyllama", "model.hub.revision=null") == first
    words = f"assets: {TINYLLAMA} is unpinned and HF_HUB_OFFLINE is set; taking {there.commit}, its head when it was last asked\n"
    assert words in capsys.readouterr().err


def test_unpinned_repository_that_was_never_here(door):
    """An unpinned repository without a Hub is refused, with what to set."""
    door.offline()
    words = f"{TINYLLAMA} is unpinned and its commit cannot be looked up (HF_HUB_OFFLINE is set): set its hub.revision"
    assert words in door.model_refusal("tinyllama", "model.hub.revision=null")


def test_hub_that_says_nothing(door):
    """A Hub that takes the question and is silent is given up in time, and no thread stays waiting for it."""
    door.monkeypatch.setattr(hub, "_ASKING_S", 0.3)
    door.hub.faults = [Fault("", method="ANY", silence_s=3)]
    before = set(threading.enumerate())
    experiment = door.experiment("model=tinyllama", *NO_DATA)
    with pytest.raises(MissingAssets, match="; the Hub did not answer within 0 s\n"):
        check(experiment, resolve(experiment), within_s=0.1)
    for thread in set(threading.enumerate()) - before:
        if thread.name.endswith("(ask)"):
            thread.join(2)
            assert not thread.is_alive()


def test_cache_that_cannot_be_written(door):
    """A cache folder that cannot be made is named, with the variable that moves it."""
    door.home.parent.mkdir()
    door.home.write_text("a file")
    message = door.model_refusal()
    assert "it cannot be kept (NotADirectoryError: " in message and "or set HF_HOME to a folder that can be written" in message


def test_two_at_once(door):
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


def test_data_set_without_splits(door):
    """A repository with no file that is known as a split says what it has."""
    name = "datasets/tatsu-lab/alpaca"
    door.hub.repositories[name] = Repository(door.hub.repositories[name].commit, {"README.md": b"#", "rows.txt": b"a"})
    message = door.refusal("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")
    assert "has no <split>.parquet or .json files for train; it has README.md, rows.txt\n" in message
