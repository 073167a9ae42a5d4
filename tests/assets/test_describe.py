"""`model=hub:...` and `model=local:...`: described by config.json alone, and kept as a YAML when asked."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_door import Door
from hub_stand_in import Repository

from olora_bench.assets import describe, resolve
from olora_bench.assets.asked import command
from olora_bench.assets.describe import described, write_yaml
from olora_bench.config import Model, compose, load
from olora_bench.errors import BadInput, MissingAssets
from tests.study_text import study_text

COMMIT = "c" * 40
QUIET = ("suite=none", "tracker=none", "data=made_up", "rank=4")
TINY: dict[str, Any] = {
    "model_type": "qwen3", "vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 512, "tie_word_embeddings": True, "eos_token_id": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_memory(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a config.json is kept in the session's cache and not in the user's."""
    monkeypatch.setenv("OLORA_BENCH_CACHE", str(cache_dir))
    for known in (describe.described, describe._facts):
        known.cache_clear()
    monkeypatch.setattr(describe, "_asked", in_this_process)


def in_this_process(place: Path) -> dict[str, Any] | str:
    """What the child process would answer, without the seconds that it takes to import transformers."""
    from olora_bench.models.described import facts

    try:
        return json.loads(json.dumps(facts(place)))  # type: ignore[no-any-return]
    except BadInput as error:
        return str(error)


def test_composing_asks_a_process_of_its_own_and_imports_no_torch(tmp_path: Path) -> None:
    """And once: the second time nobody is asked."""
    code = (
        "import sys; from olora_bench.config import compose; "
        f"print(compose(['model=local:{folder(tmp_path / 'mine', hidden_size=64)}']).model.hidden_size, 'torch' in sys.modules)"
    )
    first, second = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout == "64 False\n"
    assert (first.stderr, second.stderr) == ("describe mine: reading its config.json, once\n", "")


def folder(place: Path, **config: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(TINY | config))
    return place


def refused(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        compose([f"model={text}"])
    return str(caught.value)


def test_a_folder_is_a_model_without_a_yaml(tmp_path: Path) -> None:
    """Shapes, layers, vocabulary, context and family as transformers makes them of config.json; its folder's name is its own."""
    own = folder(tmp_path / "my model")
    model = load(compose([f"model=local:{own}", *QUIET])).model
    assert (model.name, model.family, model.local, model.hub) == ("my_model", "qwen3", str(own), None)
    assert (model.layers, model.hidden_size, model.vocab_size, model.context_length) == (2, 32, 260, 512)
    assert model.target_modules == ("q_proj", "v_proj")
    assert model.shapes == {
        "q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32), "gate_proj": (48, 32), "up_proj": (48, 32),
        "down_proj": (32, 48),
    }  # fmt: skip
    assert model.parameters == 260 * 32 + 2 * (32 * 32 * 2 + 16 * 32 * 2 + 3 * 48 * 32 + 2 * 32 + 2 * 8) + 32


def test_what_is_kept_is_of_the_code_that_described_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of `models.described` is not answered from before it."""
    own = folder(tmp_path / "mine")
    (tmp_path / "edited.py").write_text("# another way to count layers")
    assert described(f"local:{own}")["layers"] == 2
    monkeypatch.setattr(describe, "_asked", lambda place: {"layers": 7})
    for code, layers in ((describe._CODE, 2), (tmp_path / "edited.py", 7)):
        monkeypatch.setattr(describe, "_CODE", code)
        for known in (describe.described, describe._facts):
            known.cache_clear()
        assert described(f"local:{own}")["layers"] == layers


def test_no_folder_of_this_machine_gets_into_a_record(tmp_path: Path) -> None:
    experiment = load(compose([f"model=local:{folder(tmp_path / 'mine')}", *QUIET]))
    assert str(tmp_path) not in json.dumps(experiment.published()["model"])


def test_a_folder_named_from_the_current_one_is_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load(compose(["model=local:mine", *QUIET])).model.local == str(own)


def test_both_ways_can_be_swept_over(tmp_path: Path) -> None:
    """A study's grid names them as it names an option."""
    from olora_bench.study.expand import StudyFile

    grid = {"model": [f"local:{folder(tmp_path / name)}" for name in ("a, (1)", "b")], "init": ["lora", "olora"], "seed": [0, 1]}
    contrast = {"arm": "olora", "reference": "lora", "kind": "primary"}
    file = tmp_path / "mine.yaml"
    file.write_text(study_text(yaml.safe_dump({"protocol": "shared_lr", "contrasts": [contrast], "grids": [grid]}), name="mine"))
    assert {experiment.model.name for experiment in StudyFile(file).experiments()} == {"a___1_", "b"}


def test_a_repository_is_described_by_its_config_alone(door: Door) -> None:
    """One small file is fetched at the head that the Hub names; the weights only when they are needed."""
    door.hub.repositories["me/tiny"] = Repository(COMMIT, {"config.json": json.dumps(TINY).encode(), "model.safetensors": b"big"})
    experiment = load(compose(["model=hub:me/tiny", *QUIET, "assets=[hub]"]))
    assert (experiment.model.name, experiment.model.family) == ("me--tiny", "qwen3")
    assert resolve(experiment)["model:me--tiny"].identity == f"me/tiny@{COMMIT}"
    assert [path.name for path in door.home.rglob("snapshots/*/*")] == ["config.json"]
    assert command(experiment) == "python -m olora_bench.assets model=hub:me/tiny data=made_up suite=none 'assets=[hub]'"


def test_a_commit_is_pinned_with_an_at(door: Door) -> None:
    door.hub.repositories["me/tiny"] = Repository(COMMIT, {"config.json": json.dumps(TINY).encode()})
    hub = load(compose([f"model=hub:me/tiny@{COMMIT}", *QUIET])).model.hub
    assert hub is not None and (hub.id, hub.revision) == ("me/tiny", COMMIT)


def test_a_kept_description_is_a_model_like_any(door: Door, tmp_path: Path) -> None:
    """The YAML pins the commit, has the head that shipped files have, and describes the same model."""
    door.hub.repositories["me/tiny"] = Repository(COMMIT, {"config.json": json.dumps(TINY).encode()})
    file = tmp_path / "conf" / "model" / "mine.yaml"
    assert write_yaml("hub:me/tiny", file) == f"{file} describes mine: python -m olora_bench --config-dir {tmp_path / 'conf'} model=mine"
    assert file.read_text().splitlines()[1:3] == [
        "# Use:      python -m olora_bench model=mine",
        "# Override: python -m olora_bench model=mine init=olora rank=8",
    ]
    known = Model.model_validate(yaml.safe_load(file.read_text()))
    assert known == Model.model_validate(described("hub:me/tiny")).model_copy(
        update={"name": "mine", "hub": known.hub and known.hub.model_copy(update={"revision": COMMIT})}
    )
    assert known.hub is not None and known.hub.revision == COMMIT
    assert write_yaml("hub:me/tiny", tmp_path / "mine.yaml").endswith(
        "/mine.yaml describes mine: put it into a folder model/, then python -m olora_bench --config-dir FOLDER_ABOVE model=mine"
    )
    with pytest.raises(BadInput) as caught:
        write_yaml("hub:me/tiny", file)
    assert str(caught.value) == f"{file} is there already: give another name, or move it away"
    with pytest.raises(BadInput) as caught:
        write_yaml("hub:me/tiny", tmp_path / "mine.yml")
    assert str(caught.value) == f"{tmp_path / 'mine.yml'} is not allowed: a file NAME.yaml, e.g. conf/model/my_model.yaml"


def test_the_command_that_keeps_a_description_says_what_it_takes(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = cli("--write", "mine.yaml", "model=tinyllama", module="olora_bench.assets")
    assert done.returncode == 2
    assert done.stderr.startswith("--write takes a file and a model: --write conf/model/my_model.yaml model=hub:org/name\nusage: ")


ALLOWED = "Allowed: a causal language model of text that transformers loads by itself, with plain torch.nn.Linear layers"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            {"model_type": "gpt2"},
            "the layers of model_type=gpt2 have no plain torch.nn.Linear of one shape in every layer "
            "(they are made of Conv1D, Dropout, LayerNorm, NewGELUActivation)",
        ),
        ({"model_type": "gemma3", "text_config": {}}, "model_type=gemma3 reads more than text. Allowed: a model of text alone"),
    ],
)
def test_what_cannot_be_adapted_is_refused_with_the_reason(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    own = folder(tmp_path / "mine", **config)
    assert refused(f"local:{own}") == f"model=local:{own} cannot be run here: {reason}. {ALLOWED}"


def test_an_architecture_that_only_its_own_code_makes_is_refused(tmp_path: Path) -> None:
    """No code of a folder runs, whatever its config.json asks for."""
    own = folder(tmp_path / "mine", model_type="mine", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    (own / "code.py").write_text("raise SystemExit('it ran')")
    assert refused(f"local:{own}").startswith(
        f"model=local:{own} cannot be run here: transformers can make no causal language model of its config.json: "
    )
    assert "it ran" not in refused(f"local:{own}")


def test_fused_projections_are_adapted_where_they_are_named(tmp_path: Path) -> None:
    """GPT-NeoX has one product for queries, keys and values: which gets an adapter is the user's to say."""
    own = folder(tmp_path / "neox", model_type="gpt_neox")
    with pytest.raises(BadInput) as caught:
        load(compose([f"model=local:{own}", *QUIET]))
    assert str(caught.value) == (
        "model.target_modules is empty: name the projections of neox that get an adapter, e.g. model.target_modules=[query_key_value]. "
        "Allowed: query_key_value, dense, dense_h_to_4h, dense_4h_to_h"
    )
    named = load(compose([f"model=local:{own}", *QUIET, "model.target_modules=[query_key_value]"]))
    assert named.model.target_modules == ("query_key_value",)


def test_a_place_that_is_no_model_is_refused(tmp_path: Path) -> None:
    as_saved = "Give a folder as `save_pretrained` writes it: config.json, *.safetensors and a tokenizer"
    assert refused(f"local:{tmp_path}") == f"model=local:{tmp_path}: {tmp_path} holds no config.json. {as_saved}"
    assert refused(f"local:{tmp_path}/x") == f"model=local:{tmp_path}/x: {tmp_path}/x is no folder. {as_saved}"
    (tmp_path / "config.json").write_text("{")
    assert refused(f"local:{tmp_path}").startswith(f"model=local:{tmp_path} cannot be run here: ")


def test_a_name_that_is_no_repository_is_refused() -> None:
    assert refused("hub:a/b/c") == (
        "model=hub:a/b/c is not allowed: 'a/b/c' is no repository of the Hub: org/name, each of letters, digits and - _ . with none of "
        "these two at an end, at most 96 characters, no -- and no ... Write hub:org/name, or hub:org/name@COMMIT"
    )
    assert refused("hub:me/tiny@main") == (
        "model=hub:me/tiny@main is not allowed: after @ stands a full commit, 40 hexadecimal digits, as "
        "https://huggingface.co/me/tiny/commits/main lists them. Leave @main out to take today's"
    )


def test_without_a_hub_it_is_said_what_brings_the_config(door: Door) -> None:
    door.offline()
    with pytest.raises(BadInput) as caught:
        compose(["model=hub:me/tiny"])
    assert str(caught.value) == (
        "model=hub:me/tiny is described by its config.json, which is not here: me/tiny is unpinned and its commit cannot be looked up "
        "(HF_HUB_OFFLINE is set). `hf download me/tiny config.json` with a connection (and HF_HOME brought here) "
        "brings it; or give a folder: model=local:FOLDER"
    )


def test_weights_that_are_not_there_are_missed_at_the_named_folder(tmp_path: Path) -> None:
    """Nobody is sent to machine.local_dir for a folder that was named in full."""
    own = folder(tmp_path / "mine")
    with pytest.raises(MissingAssets) as caught:
        resolve(load(compose([f"model=local:{own}", *QUIET])))
    assert str(caught.value).splitlines()[1:4] == [
        "  model:mine",
        f"    source: none; none of assets=[packaged,local,hub] has it; {own} is passed over: there are no weights (*.safetensors)",
        f"    brings it: complete {own}",
    ]


def test_the_command_that_fetches_can_be_pasted(tmp_path: Path) -> None:
    """It names the file of rows and its columns, without which it would stop at `data=file`; a shell takes each option as one word."""
    own, rows = folder(tmp_path / "my model"), tmp_path / "my rows.jsonl"
    on = ["data=file", f"data.path={rows}", "data.prompt_template='Q: {q} '", "data.response=a"]
    told = command(load(compose([f"model=local:{own}", *QUIET[:2], "rank=4", *on])))
    assert told.startswith("python -m olora_bench.assets 'model=local:")
    again = load(compose([*shlex.split(told)[3:], "rank=4", "tracker=none"]))
    assert (again.model.local, again.data.path) == (str(own), str(rows))
    assert (again.data.prompt_template, again.data.response) == ("Q: {q} ", "a")


def test_the_command_that_fetches_keeps_all_that_decides_what_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of one's own configs, those of the machine, parts of a file, and benchmarks named one by one; what decides nothing is not
    repeated."""
    monkeypatch.setattr("olora_bench.config.own_inits._FOLDERS", [tmp_path / "my configs"])
    overrides = ["data=file", f"data.path={tmp_path}/it's (1), b.jsonl", "data.tune_share=0.1", "suite.benchmarks=[piqa,boolq]"]
    here = ["assets=[local,hub]", f"machine.local_dir={tmp_path / 'a, b'}", f"machine.cache_dir={tmp_path / 'c'}"]
    experiment = load(compose(["model=tiny_llama2_7b", "rank=4", "lr=1e-2", "suite.limit=3", "init=olora", *overrides, *here]))
    words = shlex.split(command(experiment))
    assert words[-2:] == ["--config-dir", str(tmp_path / "my configs")] and words[:3] == ["python", "-m", "olora_bench.assets"]
    assert sorted(word.partition("=")[0] for word in words[3:-2]) == sorted([
        "model", "data", "suite", "data.path", "data.tune_share", "data.tune_size", "suite.benchmarks", "assets", "machine.cache_dir",
        "machine.local_dir",
    ])  # fmt: skip
    again = load(compose(["rank=4", *words[3:-2]]))
    assert (again.model, again.data, again.assets) == (experiment.model, experiment.data, experiment.assets)
    assert (again.suite.benchmarks, again.machine) == (experiment.suite.benchmarks, experiment.machine)


def test_an_unknown_model_is_told_both_ways() -> None:
    assert refused("nobody").endswith("tinyllama_chat or hub:org/name, local:FOLDER. A new one is one YAML file in conf/model/")
