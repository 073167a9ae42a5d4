"""What a study's files may not decide, since a study may be somebody else's: which code runs. That is for this machine's conf and for who
types the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from olora_bench.config import Model, compose, options
from olora_bench.errors import BadInput
from olora_bench.formats import read_yaml

# A study file chooses the sweeper and that there is one; the rest of these says what was composed, and differs always.
_FREE = ("mode", "overrides", "runtime", "searchpath", "sweep", "run")
_FREE_OF_JOB = ("name", "config_name", "override_dirname", "id", "num", "config")


def check_trust(model: Model, path: Path, overrides: Sequence[str]) -> None:
    """Refuse a study whose files let a model's own code run.

    Raises:
        BadInput: `model.trust_remote_code` is true, and neither conf nor the command line says so.
    """
    if not model.trust_remote_code or any(line.lstrip("+").startswith("model.trust_remote_code=") for line in overrides):
        return
    if model.name in options("model") and compose([f"model={model.name}"]).model.trust_remote_code:
        return
    raise BadInput(
        f"{path}: model.trust_remote_code=true of {model.name} comes with the study, and runs code that comes with the model. "
        "Say so yourself, once you have read that code: in conf/model/, or on the command line with model.trust_remote_code=true"
    )


def check_searchpath(path: Path) -> None:
    """Refuse a study file that has Hydra look for configs elsewhere: to look in a package is to import it, whatever is asked of the study.

    Raises:
        BadInput: it sets `hydra.searchpath`, or is no YAML.
    """
    raw = read_yaml(path)
    try:
        places = OmegaConf.select(OmegaConf.create(raw), "hydra.searchpath") if isinstance(raw, dict) else None
    except (OmegaConfBaseException, ValueError):
        return  # no config for Hydra either, which says what is wrong with it
    if places is not None:
        raise BadInput(
            f"{path}: hydra.searchpath={places} is not allowed in a study file: configs come from its folder and from conf/. "
            "Leave it out, and give it on the command line if you trust what lies there: hydra.searchpath=[...]"
        )


def check_hydra(path: Path, overrides: Sequence[str]) -> None:
    """Refuse a study whose files set what Hydra itself does: launcher, callbacks, logging and the like name code to run.

    Raises:
        BadInput: names the keys.
    """
    asked = [line for line in overrides if line.lstrip("+~").startswith("hydra")]
    theirs = _hydra(compose(overrides, config_name=path.name, config_dir=path.parent, whole=True))
    own = _hydra(compose(["hydra/sweeper=study", *asked], whole=True))
    if changed := sorted(key for key in theirs.keys() | own.keys() if theirs.get(key) != own.get(key)):
        keys = ", ".join(f"hydra.{key}" for key in changed)
        raise BadInput(
            f"{path}: the study sets {keys}, with which Hydra runs code that it names. "
            "Leave that out, and give what you want of it on the command line, e.g. hydra/launcher=processes"
        )


def _hydra(cfg: Any) -> dict[str, Any]:
    node: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    job = {key: value for key, value in node["job"].items() if key not in _FREE_OF_JOB}
    return {key: value for key, value in node.items() if key not in _FREE} | {"job": job}
