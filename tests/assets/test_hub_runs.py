"""A whole run through the Hub's HTTP, by the command that a person types, in a process of its own; then offline."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hub_repositories import everything, specs
from hub_stand_in import serving

from olora_bench.config import Model, conf_dir
from olora_bench.models import load_base

ALL = [("tinyllama", "tiny_tinyllama"), ("opt_1.3b", "tiny_opt_1.3b"), ("mistral_7b", "tiny_mistral_7b")]


def _model(name: str) -> Model:
    return Model.model_validate(yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8")))


def _files(twin: str, pickled: bool, folder: Path, cache_dir: Path) -> dict[str, bytes]:
    """The tiny twin as a repository: with safetensors, or, as OPT's, with a pickle of the bare model in fp16."""
    base = load_base(_model(twin), None, torch.float32, "cpu", cache_dir)
    if pickled:
        bare = {name.removeprefix("model."): tensor.half() for name, tensor in base.model.state_dict().items()}
        folder.mkdir()
        torch.save(bare, folder / "pytorch_model.bin")
    kept = [p for p in base.folder.iterdir() if p.name != "built.json" and not (pickled and p.suffix == ".safetensors")]
    return {p.name: p.read_bytes() for p in [*kept, *folder.glob("*.bin")]}


@pytest.mark.parametrize(("name", "twin"), [ALL[0], *(pytest.param(*pair, marks=pytest.mark.slow, id=pair[0]) for pair in ALL[1:])])
def test_the_command_that_a_person_types(name, twin, cli, machine, tmp_path, cache_dir):
    """The run fetches model, data and benchmarks and ends well; offline, with the Hub gone, all of it is found without a request."""
    spec, tiny, pickled = specs("model")[name], _model(twin), name.startswith("opt")
    repositories = {n: replace(there, files=copy.copy(there.files)) for n, there in everything().items()}
    repositories[spec["hub"]["id"]].files = _files(twin, pickled, tmp_path / "pickle", cache_dir)
    sizes = [f"model.{key}={getattr(tiny, key)}" for key in ("layers", "hidden_size", "vocab_size", "parameters", "context_length")]
    sizes += [f"model.shapes.{key}=[{out},{into}]" for key, (out, into) in tiny.shapes.items()]
    command = [f"model={name}", "init=olora", "rank=4", "assets=[hub]", "tracker=none", "precision=fp32", *machine, *sizes]
    command += [f"machine.cache_dir={tmp_path / 'cache'}", "machine.threads=1", "recipe.steps=2", "data.train_size=16"]
    command += ["data.tune_size=4", "data.report_size=4", "suite.limit=2", "data.benchmarks=[piqa]", "data.decontaminate=[]"]
    own = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    with serving(repositories) as hub:
        done = cli(*command, env=own | {"HF_ENDPOINT": hub.url})
        assert done.returncode == 0, done.stderr
        asked = len(hub.asked)
        again = cli(*command, module="olora_bench.assets", env=own | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"})
        assert again.returncode == 0 and len(hub.asked) == asked, again.stderr
    record = json.loads(next((tmp_path / "results" / "runs").glob("*/record.json")).read_text())
    assert record["status"] == "done" and f"{spec['hub']['id']}@{spec['hub']['revision']}" in json.dumps(record)
    assert ("weights_only=True" in json.dumps(record)) == pickled
