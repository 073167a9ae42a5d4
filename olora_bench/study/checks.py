"""What a study file may not ask for, each as one check of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from olora_bench.config import options
from olora_bench.config.choices import allowed_options, is_described
from olora_bench.config.nearest import dotted, nearest
from olora_bench.errors import BadInput
from olora_bench.identity import cell_identity, differences
from olora_bench.store.record import Json
from olora_bench.study.schema import Contrast, Scalar, Study

if TYPE_CHECKING:
    from olora_bench.study.jobs import Job


GROUPS = ("model", "init", "data", "recipe", "suite", "tracker")
"""The config groups of which a grid may choose options."""


ONE_FINALIST = 25
"""Percent of simulated studies by loss, with looks, that call identical arms different where each block trains the chosen rate alone
(`simulations.price`)."""


def check_groups(values: Mapping[str, Scalar], path: Path, number: int) -> None:
    """Every config group of a grid's combination has the option.

    Raises:
        BadInput: names those there are.
    """
    for group in (group for group in GROUPS if group in values):
        allowed = options(group, (path.parent,))
        if values[group] not in allowed and not (group == "model" and is_described(values[group])):
            raise BadInput(f"{path}: study.grids.{number}.{group}={values[group]!r} is unknown. {allowed_options(group, allowed)}")


def check_key(raw: Json, key: str, path: Path, number: int) -> None:
    """A grid's key is one value of the composed config.

    Raises:
        BadInput: there is no such key, or it has keys of its own.
    """
    *parents, last = key.split(".")
    node: JsonValue = raw
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        near = nearest(key, dotted({name: value for name, value in raw.items() if name != "study"} if isinstance(raw, dict) else {}))
        meant = f"Nearest: {', '.join(near)}. " if near else ""
        raise BadInput(
            f"{path}: study.grids.{number}.{key}: there is no such key. {meant}Use a config group ({', '.join(GROUPS)}) or a key that "
            "`--cfg job` prints"
        )
    if not parents and isinstance(whole := node[last], dict):
        inner = ", ".join(whole)
        raise BadInput(f"{path}: study.grids.{number}.{key} has keys of its own: give {key}.KEY. Allowed: {inner}")


def check_overrides(study: Study, overrides: Sequence[str], path: Path) -> None:
    """No override of the whole study sets what its grids set for each run.

    Raises:
        BadInput: names the override and where the value is set.
    """
    fixed = {key: "study.grids" for grid in study.grids for key in grid} | study.set_for_each_run
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if key in fixed:
            raise BadInput(f"{override}: {fixed[key]} of {path} sets {key} for each run. Change it there, or in a copy of the file")


def check_arms(jobs: Sequence[Job], path: Path) -> None:
    """An arm is one init in each cell.

    Raises:
        BadInput: two inits of one name, with what differs.
    """
    inits: dict[tuple[str, str], JsonValue] = {}
    for job in jobs:
        init = job.what.train["init"]
        known = inits.setdefault((job.cell, job.experiment.arm), init)
        if known != init:
            differs = "; ".join(f"init.{difference}" for difference in differences(known, init))
            raise BadInput(f"{path}: two different inits are both called {job.experiment.arm} ({differs}): give each a name of its own")


def check_finalists(study: Study, jobs: Sequence[Job], path: Path) -> None:
    """Looks by held-out loss judge blocks that choose: with one finalist, where the search ended is called a difference of the arms.

    Raises:
        BadInput: a tuned study with looks and a primary contrast asks no benchmark, and has one finalist.
    """
    looks = study.seeds is not None and study.tuning is not None and study.tuning.finalists == 1
    if looks and any(c.kind == "primary" for c in study.contrasts) and not any(job.experiment.suite.benchmarks for job in jobs):
        raise BadInput(
            f"{path}: study.tuning.finalists=1 in a study judged by held-out loss, which asks no benchmark: the luck of the search is not "
            f"in the error, and identical arms were called in {ONE_FINALIST}% of simulated studies (docs/looks.md). Give 5, or 3"
        )


def check_contrast(contrast: Contrast, jobs: Sequence[Job], path: Path) -> None:
    """Both arms of a contrast are run, and some run of the one can be compared with one of the other.

    Raises:
        BadInput: names the arms there are, or what the first runs differ in.
    """
    arms = sorted({job.experiment.arm for job in jobs})
    for side, arm in (("arm", contrast.arm), ("reference", contrast.reference)):
        if arm not in arms:
            raise BadInput(f"{path}: a contrast's {side} is {arm!r}, which no grid runs. Arms of the grids: {', '.join(arms)}")
    one, other = (
        # What a pair shares: all but arm, lr and seed, and what is asked of it.
        {(job.cell, job.what.base_eval_id): job for job in jobs if job.experiment.arm == arm}
        for arm in (contrast.arm, contrast.reference)
    )
    if one.keys() & other.keys():
        return
    firsts = (next(iter(found.values())) for found in (one, other))
    left, right = (cell_identity(job.what.train) | {"suite": job.experiment.suite.model_dump(mode="json")} for job in firsts)
    differs = "; ".join(str(difference) for difference in differences(left, right))
    raise BadInput(
        f"{path}: no run of {contrast.arm} can be compared with one of {contrast.reference}, which is a contrast: "
        f"the first ones differ in {differs}. Put the two into one grid"
    )
