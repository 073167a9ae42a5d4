"""What the Hub refuses, and what is no Hub: each is said with its cause and what to do, and nothing is believed."""

from __future__ import annotations

import shlex
import threading

import pytest
from hub_door import NO_DATA, TINYLLAMA, Door, blobs
from hub_repositories import specs
from hub_stand_in import TOKEN, Fault, Repository, sha256

from olora_bench.assets import check, hub, resolve
from olora_bench.config import compose, load
from olora_bench.errors import MissingAssets


@pytest.mark.parametrize(("name", "page"), [("llama2_7b", "meta-llama/Llama-2-7b-hf"), ("gemma_2b", "google/gemma-2b")])
@pytest.mark.parametrize("token", [None, "hf_of_a_user_without_access"])
def test_gated_repository(name: str, page: str, token: str | None, door: Door) -> None:
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
        f"  python -m olora_bench.assets model={name} data=made_up suite=commonsense6_made_up 'assets=[hub]' machine.cache_dir={door.cache}"
    )
    assert door.hub.sent == {}


@pytest.mark.parametrize("token", [None, TOKEN])
def test_missing_repository(token: str | None, door: Door) -> None:
    """A repository that is not there is said so, with and without a login."""
    if token:
        door.monkeypatch.setenv("HF_TOKEN", token)
    del door.hub.repositories[TINYLLAMA]
    assert f"hub ({TINYLLAMA}); the Hub does not have it, or not for this login (`hf auth login`)" in door.model_refusal()


def test_old_token(door: Door) -> None:
    """A token that the Hub no longer takes is named."""
    door.monkeypatch.setenv("HF_TOKEN", "hf_old")
    words = {"X-Error-Message": "Invalid credentials in Authorization header"}
    door.hub.faults = [Fault("", method="ANY", status=401, headers=words)]
    assert ": `hf auth login`, and no old token in HF_TOKEN" in door.model_refusal()


def test_missing_revision(door: Door) -> None:
    """A commit that the repository does not have is named, with the page that lists those it has."""
    there = door.hub.repositories[TINYLLAMA]
    there.commit, pinned = "f" * 40, there.commit
    page = f"https://huggingface.co/{TINYLLAMA}/commits/main"
    assert f"; the Hub has no commit {pinned} of it: set its hub.revision to one of {page}\n" in door.model_refusal()


def test_hub_that_gives_another_commit(door: Door) -> None:
    """A mirror that answers with another commit than was asked is not believed."""
    door.hub.faults = [Fault("/resolve/", 10**9, "HEAD", 200, {"X-Repo-Commit": "f" * 40, "ETag": '"abc"'})]
    assert "what answers is not a Hub (" in door.model_refusal() and blobs(door) == []


def test_sign_in_page(door: Door) -> None:
    """A page that answers everything, as a hotel's network has it, is no Hub."""
    door.hub.faults = [Fault("", 10**9, "ANY", 200, {"Content-Type": "text/html"})]
    assert "is there a proxy or a sign-in page, or a wrong HF_ENDPOINT?" in door.model_refusal()


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "3600"}, {"RateLimit": '"resolvers";r=0;t=3599', "RateLimit-Policy": '"fixed window"'}]
)
def test_long_rate_limit_is_refused(headers: dict[str, str], door: Door) -> None:
    """A wait that nobody would sit through is said instead."""
    door.hub.faults = [Fault("/tree/", status=429, headers=headers)]
    words = "the Hub limits how often it is asked from here: again in 1h00m, or sooner after `hf auth login`, which raises the limit"
    assert words in door.model_refusal() and len([a for a in door.hub.asked if "/tree/" in a]) == 1


@pytest.mark.parametrize(("where", "before"), [("/config.json", ""), ("/tree/", f"{TINYLLAMA}@"), ("?X-Amz", "cannot be downloaded: ")])
def test_server_errors_that_stay(where: str, before: str, door: Door) -> None:
    """Errors that stay are named, with the status; nothing is believed."""
    door.hub.faults = [Fault(where, method="ANY", status=502)]
    message = door.model_refusal()
    assert "the Hub answers with an error of its own (502 Bad Gateway): try again later" in message and before in message
    assert not any(door.home.rglob("snapshots/*"))


def test_wrong_bytes_that_stay_are_refused(door: Door) -> None:
    """Bytes that are wrong twice are refused, and nothing of the repository appears in the cache."""
    data = door.hub.repositories[TINYLLAMA].files["model.safetensors"]
    door.hub.faults = [Fault(sha256(data), flip=True)]
    words = "model.safetensors came twice with another digest than the Hub says: something on the way changes it. Try another network"
    assert words in door.model_refusal() and not any(door.home.rglob("snapshots/*"))


def test_unpinned_repository_that_was_never_here(door: Door) -> None:
    """An unpinned repository without a Hub is refused, with what to set."""
    door.offline()
    assert door.model_refusal("tinyllama", "model.hub.revision=null") == (
        "1 asset is missing:\n"
        "  model:tinyllama\n"
        f"    source: hub; {TINYLLAMA} is unpinned and its commit cannot be looked up (HF_HUB_OFFLINE is set)\n"
        f"    brings it: `hf download {TINYLLAMA} --repo-type model` with a connection (and HF_HOME brought here), or its folder below "
        "machine.local_dir; a commit that is given (hub.revision of its YAML) is looked up nowhere\n"
        "Then, or with a connection, fetch all of it ahead:\n"
        "  python -m olora_bench.assets model=tinyllama data=made_up suite=commonsense6_made_up ++model.hub.revision=null "
        f"'assets=[hub]' machine.cache_dir={door.cache}"
    )


def test_missing_tasks_of_lm_eval_are_brought_by_the_command_that_is_printed(door: Door) -> None:
    """They have no YAML: none of its keys is named, but the folder that takes their rows is; the command keeps what was asked."""
    door.offline()
    message = door.refusal("model=tiny_tinyllama", "data=made_up", "suite.benchmarks=[sciq]")
    assert message == (
        "1 asset is missing:\n"
        "  benchmark:sciq\n"
        "    source: hub; allenai/sciq is unpinned and its commit cannot be looked up (HF_HUB_OFFLINE is set)\n"
        "    brings it: `hf download allenai/sciq --repo-type dataset` with a connection (and HF_HOME brought here), or its rows at "
        "<machine.local_dir>/NAME/test.parquet, NAME as lm-eval calls the task\n"
        "Then, or with a connection, fetch all of it ahead:\n"
        "  python -m olora_bench.assets model=tiny_tinyllama data=made_up suite=commonsense6 'suite.benchmarks=[sciq]' 'assets=[hub]' "
        f"machine.cache_dir={door.cache}"
    )
    again = load(compose(["rank=1", *shlex.split(message.splitlines()[-1])[3:]]))
    assert (again.suite.benchmarks, again.assets, again.machine.cache_dir) == (("sciq",), ("hub",), door.cache)


def test_hub_that_says_nothing(door: Door) -> None:
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


def test_cache_that_cannot_be_written(door: Door) -> None:
    """A cache folder that cannot be made is named, with the variable that moves it."""
    door.home.parent.mkdir()
    door.home.write_text("a file")
    message = door.model_refusal()
    assert "it cannot be kept (NotADirectoryError: " in message and "or set HF_HOME to a folder that can be written" in message


def test_data_set_without_splits(door: Door) -> None:
    """A repository with no file that is known as a split says what it has."""
    name = "datasets/tatsu-lab/alpaca"
    door.hub.repositories[name] = Repository(door.hub.repositories[name].commit, {"README.md": b"#", "rows.txt": b"a"})
    message = door.refusal("model=tiny_tinyllama", "data=alpaca", "data.decontaminate=[]", "suite=none")
    assert "has no <split>.parquet or .json files for train; it has README.md, rows.txt\n" in message
