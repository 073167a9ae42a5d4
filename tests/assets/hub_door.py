"""A machine whose only Hub is the stand-in, and what a run asks of it first."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hub_repositories import everything, specs
from hub_stand_in import Hub, serving
from huggingface_hub import constants

from olora_bench.assets import check, fetch, hub, resolve, transfer
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
        hub._head.cache_clear()


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
        hub._head.cache_clear()
        yield Door(here, tmp_path / "hf" / "hub", tmp_path / "cache", monkeypatch)
        hub._head.cache_clear()


def blobs(door: Door) -> list[Path]:
    return [path for path in door.home.rglob("blobs/*") if path.is_file()]
