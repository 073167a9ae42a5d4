"""From a study file to its runs: each combination of config groups is composed once, values are set on copies."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from olora_bench.assets import Asset, resolve
from olora_bench.config import Experiment, compose, load, options, sweeps_dir
from olora_bench.config.hardware import resolve_precision
from olora_bench.errors import BadInput
from olora_bench.identity import Identified, identify
from olora_bench.study.schema import Grid, Scalar, Study, parse_study

GROUPS = ("model", "init", "data", "recipe", "suite", "tracker")


@dataclass(frozen=True)
class Job:
    """One run of a study: the overrides that compose it, the experiment, its ids and its assets."""

    overrides: tuple[str, ...]
    experiment: Experiment
    what: Identified
    assets: dict[str, Asset]


@dataclass(frozen=True)
class Grids:
    """A study file read and expanded. `merged` counts combinations that are the same run as an earlier one."""

    study: Study
    path: Path
    jobs: tuple[Job, ...]
    merged: int


def find_study(name: str) -> Path:
    """The file of a study: a path to a YAML file, else `sweeps/<name>.yaml` here, else the one that came with the package.

    Raises:
        BadInput: there is no such study; names those there are.
    """
    candidates = [Path(name)] if name.endswith(".yaml") else [Path("sweeps") / f"{name}.yaml", sweeps_dir() / f"{name}.yaml"]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    have = sorted({p.stem for folder in (Path("sweeps"), sweeps_dir()) for p in folder.glob("*.yaml")})
    raise BadInput(f"no study {name!r}. Allowed: {', '.join(have)}, or the path of a study file ending in .yaml")


def combinations(grid: Grid) -> Iterator[dict[str, Scalar]]:
    """Every combination of a grid's values, the last key varying fastest.

    >>> list(combinations({"init": ["lora", "olora"], "seed": 0}))
    [{'init': 'lora', 'seed': 0}, {'init': 'olora', 'seed': 0}]
    """
    lists = [value if isinstance(value, list) else [value] for value in grid.values()]
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


def expand(path: Path, overrides: Sequence[str] = (), precision: str | None = None) -> Grids:
    """Read a study file and identify every run of it.

    Args:
        path: the study file.
        overrides: further Hydra overrides for every run, e.g. `machine.results_dir=/data/results`.
        precision: what the study's lock settled `precision=auto` to; null settles it for this machine.

    Raises:
        BadInput: the file or one of its combinations cannot be carried out as written.
    """
    top = OmegaConf.to_container(compose(overrides, config_name=path.stem, config_dir=path.parent), resolve=False)
    assert isinstance(top, dict)
    study = parse_study(top.get("study"), str(path))
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    jobs: dict[tuple[str, str | None], Job] = {}
    total = 0
    for number, grid in enumerate(study.grids):
        for values in combinations(grid):
            total += 1
            groups = tuple(f"{key}={value}" for key, value in values.items() if key in GROUPS)
            if groups not in composed:
                _check_groups(values, path, number)
                cfg = compose([*overrides, *groups], config_name=path.stem, config_dir=path.parent)
                raw = OmegaConf.to_container(cfg, resolve=True)
                assert isinstance(raw, dict)
                composed[groups] = {str(key): value for key, value in raw.items()}
            raw = copy.deepcopy(composed[groups])
            for key, value in values.items():
                if key not in GROUPS:
                    _set(raw, key, value, path, number)
            if raw["precision"] == "auto":
                raw["precision"] = precision or resolve_precision("auto", raw["machine"]["device"])
            experiment = load(raw, (path.parent,))
            found = resolve(experiment)
            what = identify(experiment, {key: asset.identity for key, asset in found.items()})
            # A job is composed again where it runs, perhaps on other hardware: the settled precision travels with it.
            lines = (*(f"{key}={_literal(value)}" for key, value in values.items()), f"precision={experiment.precision}")
            jobs.setdefault((what.train_id, what.eval_id), Job(lines, experiment, what, found))
    _check_contrasts(study, {job.experiment.arm for job in jobs.values()}, path)
    return Grids(study, path, tuple(jobs.values()), merged=total - len(jobs))


def _literal(value: Scalar) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _check_groups(values: dict[str, Scalar], path: Path, number: int) -> None:
    for group in GROUPS:
        allowed = options(group, (path.parent,))
        if group in values and values[group] not in allowed:
            raise BadInput(f"{path}: study.grids.{number}.{group}={values[group]!r} is unknown. Allowed: {', '.join(allowed)}")


def _set(raw: dict[str, Any], key: str, value: Scalar, path: Path, number: int) -> None:
    *parents, last = key.split(".")
    node = raw
    for part in parents:
        node = node[part] if isinstance(node, dict) and isinstance(node.get(part), dict) else {}
    if last not in node:
        groups = ", ".join(GROUPS)
        raise BadInput(
            f"{path}: study.grids.{number}.{key}: there is no such key. Use a config group ({groups}) or a key that `--cfg job` prints"
        )
    node[last] = value


def _check_contrasts(study: Study, arms: set[str], path: Path) -> None:
    for contrast in study.contrasts:
        for side, arm in (("arm", contrast.arm), ("reference", contrast.reference)):
            if arm not in arms:
                raise BadInput(f"{path}: a contrast's {side} is {arm!r}, which no grid runs. Arms of the grids: {', '.join(sorted(arms))}")
