"""Where the files lie that came with this package, and which options a config group has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from olora_bench.config.own_inits import own_folders, own_modules

_PACKAGE = Path(__file__).resolve().parent.parent


def _shipped(folder: str) -> Path:
    # A checkout keeps conf/ and sweeps/ beside the package; a wheel carries them inside it.
    beside = _PACKAGE.parent / folder
    return beside if (_PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir() else _PACKAGE / folder


def conf_dir() -> Path:
    """The folder of the configs that came with this package."""
    return _shipped("conf")


def sweeps_dir() -> Path:
    """The folder of the study files that came with this package."""
    return _shipped("sweeps")


def claims_dir() -> Path:
    """The folder of the papers' claims that came with this package."""
    return _shipped("results/published/claims")


def options(group: str, extra_dirs: Sequence[Path] = ()) -> list[str]:
    """The choices of a config group: the YAML files in its folder, in those that the user named, and inits that need none.

    >>> "olora" in options("init")
    True
    """
    found = {p.stem for d in (conf_dir(), *extra_dirs, *own_folders()) for p in (d / group).glob("*.yaml")}
    return sorted(found | set(own_modules() if group == "init" else ()))


def allowed_options(group: str, named: Sequence[str]) -> str:
    """What a config group takes, and where one of the user's own goes, in words."""
    more = " or hub:org/name, local:FOLDER" if group == "model" else ""
    own = ", or init/NAME.py in a folder that you give with --config-dir" if group == "init" else ""
    return f"Allowed: {', '.join(named)}{more}. A new one is one YAML file in conf/{group}/{own}"


def is_described(model: object) -> bool:
    """Whether a model is named by its repository or folder, and not by a YAML: `hub:org/name`, `local:FOLDER`."""
    return isinstance(model, str) and model.startswith(("hub:", "local:"))
