"""The experiment that a record holds. A record may be somebody else's, so it is data: where bytes come from and whether code of a model may
run is told by this machine's own conf alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import JsonValue

from olora_bench.assets import Asset
from olora_bench.config import Experiment, compose, load, options
from olora_bench.config.schema import Machine
from olora_bench.errors import BadInput, RecordError
from olora_bench.identity import differences, digest, explain, train_identity
from olora_bench.store import RunRecord

# A model's other keys are this machine's own; these say what one run does with it.
_RUN_CHOOSES = ("target_modules", "quantization")
_MUST_AGREE = ("family", "generated", "trust_remote_code")
_NO_SOURCE: dict[str, dict[str, JsonValue]] = {
    "model": {"local": None, "packaged": None, "generated": None, "trust_remote_code": False},
    "data": {"hub": None},
}
"""What a record's description of a user's own folder may not say."""
_GROUPS = ("model", "init", "data", "recipe", "suite", "machine")
_HOW_TO_ALLOW = "If you trust it, describe it in a YAML of your own (docs/adding.md), in conf/ or in a folder given with --config-dir"


def of_record(record: RunRecord, machine: Machine, config_dir: Path | None = None) -> Experiment:
    """The experiment of a run's record, on `machine`, without a tracker.

    Model, instruction data and benchmarks are looked up by name in this machine's conf. One that conf does not have may lie in a folder of
    the user's own below `machine.local_dir`: nothing is fetched for it, and its bytes must have the digest of the record.
    Of the record are numbers and choices: init, rank, rates, recipe, suite, sizes of the parts, target modules, quantisation.

    Args:
        config_dir: a further folder of configs, searched before `conf/`.

    Raises:
        BadInput: conf has no such model or data, or describes another one; or today's schema does not take the record's config.
        RecordError: the record's config has no such parts.
    """
    config = {group: value for group in _GROUPS if isinstance(value := record.config.get(group), dict)}
    if broken := [group for group in _GROUPS if group not in config]:
        raise RecordError(f"run {record.train_id}: config.{', config.'.join(broken)} of its record is no table: the record is not whole")
    model = _own(record, "model", config_dir) | {key: config["model"][key] for key in _RUN_CHOOSES if key in config["model"]}
    data: dict[str, JsonValue] = {**config["data"], "hub": None, "local": None, "path": None}
    if data.get("kind") == "instructions" and data.get("rows") != "made_up":
        data |= {key: _own(record, "data", config_dir).get(key) for key in ("hub", "local")}
    raw: dict[str, object] = {
        **record.config,
        "model": model,
        "data": data,
        "tracker": {"name": "none"},
        "machine": machine.model_dump(),
        "exportable": [],
    }
    if config["model"].get("name") not in options("model", [config_dir] if config_dir else ()):
        raw["assets"] = ["local"]  # nothing is fetched for what only a record describes
    experiment = load(raw, [config_dir] if config_dir else (), recorded=True)
    _check_model(record, experiment)
    return experiment


def check_assets(record: RunRecord, found: Mapping[str, Asset]) -> None:
    """Refuse assets that are not the ones that a run was made from.

    Args:
        found: what `assets.resolve` returned here.

    Raises:
        BadInput: names each that differs, with both identities.
    """
    recorded: Any = record.identity.get("assets")
    was = recorded if isinstance(recorded, dict) else {}
    lines = [f"  {key}: {was.get(key)} -> {one.identity}" for key, one in found.items() if was.get(key) != one.identity]
    if lines:
        raise BadInput(
            "\n".join([f"run {record.train_id} was made from other assets than this machine's conf names:", *lines, _HOW_TO_ALLOW])
        )


def check_identity(record: RunRecord, experiment: Experiment) -> None:
    """Refuse a record whose config is not what its id was made of, before its assets are looked for.

    Raises:
        BadInput: says what differs.
    """
    recorded: Any = record.identity.get("assets")
    try:
        here = train_identity(experiment, recorded)
    except (KeyError, TypeError) as error:
        raise BadInput(f"run {record.train_id}: its record does not say which assets it was made from ({error})") from error
    if digest(here) != record.train_id:
        raise BadInput(f"this code names the run {digest(here)}, not {record.train_id}:\n{explain(record.identity, here)}")


def _own(record: RunRecord, group: str, config_dir: Path | None) -> dict[str, JsonValue]:
    """This machine's own description of what a record names."""
    recorded: Any = record.config[group]
    name, have = recorded.get("name"), options(group, [config_dir] if config_dir else ())
    if name not in have and _lies_here(record, group):
        # Without a Hub id the folder is the one of the model's name below machine.local_dir.
        return {**recorded, **_NO_SOURCE[group], **({"local": name} if group == "model" and not recorded.get("hub") else {})}
    if name not in have:
        raise BadInput(
            f"run {record.train_id} names {group}={name!r}, which this machine's conf does not have, and a record is not trusted to say "
            f"where bytes come from. Allowed: {', '.join(have)}. {_HOW_TO_ALLOW}"
        )
    own = OmegaConf.to_container(compose([f"{group}={name}"], config_dir=config_dir)[group], resolve=True)
    assert isinstance(own, dict)
    return {str(key): value for key, value in own.items()}


def _lies_here(record: RunRecord, group: str) -> bool:
    """Whether a run was made from a folder of the user's own, below machine.local_dir. Nothing is fetched for it, and only the bytes whose
    digest the record holds are taken."""
    recorded: Any = record.identity.get("assets")
    name: Any = record.config[group].get("name")  # type: ignore[union-attr]
    identity = recorded.get(f"{group}:{name}") if isinstance(recorded, dict) else None
    return isinstance(identity, str) and identity.startswith("sha256:")


def _check_model(record: RunRecord, experiment: Experiment) -> None:
    recorded: Any = record.config["model"]
    own = experiment.model.model_dump(mode="json")
    left, right = ({key: one.get(key) for key in _MUST_AGREE} for one in (recorded, own))
    if found := differences(left, right):
        lines = [f"  model.{difference}" for difference in found]
        name = experiment.model.name
        raise BadInput(
            "\n".join(
                [f"run {record.train_id} was made with another model {name} than this machine's conf describes:", *lines, _HOW_TO_ALLOW]
            )
        )
