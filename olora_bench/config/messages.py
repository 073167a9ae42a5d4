"""What Hydra, OmegaConf and Pydantic say of a config, in this project's words: what was wrong, the value, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping

from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError
from pydantic import BaseModel, ValidationError

from olora_bench.config.choices import allowed_options, options
from olora_bench.config.lines import in_shell, line
from olora_bench.config.nearest import dotted, fields_at, no_such_key
from olora_bench.errors import BadInput


def hydra_message(error: BaseException, written: Mapping[str, object] | None = None) -> str:
    """A Hydra or OmegaConf error in this project's form: what was wrong, what is allowed, what to do. `written`: values as they were."""
    if isinstance(error, BadInput):
        return str(error)
    reference = error.__cause__ if isinstance(error.__cause__, GrammarParseError) else error
    if isinstance(reference, InterpolationResolutionError | GrammarParseError) and reference.full_key:
        where, why = re.sub(r"\[(\d+)\]", r".\1", reference.full_key), str(reference).splitlines()[0]
        value = (written or {}).get(where, "a reference")
        return (
            f"{where}={value}: this reference leads to no value ({why}). Write the value itself, or "
            "${KEY} with a key that `--cfg job` prints; for the characters themselves put a backslash before ${"
        )
    if isinstance(error, RecursionError):
        return "nested too deeply, or an interpolation that leads to itself: write the value itself"
    text = "\n".join(str(e).strip() or type(e).__name__ for e in (error, error.__cause__) if e is not None)
    if several := re.search(r"Ambiguous value for argument '(.*)'$", text, re.MULTILINE):
        key, _, value = several[1].partition("=")
        meant = f"A list is {key}=[{value}], text is {in_shell(line(key, value))}, and --multirun runs each in turn"
        return f"{several[1]} is several values. {meant}"
    if launcher := re.search(r"Could not find 'hydra/launcher/([^']+)'", text):
        own = ", ".join(options("hydra/launcher"))
        return (
            f"hydra/launcher={launcher[1]} is unknown or its package is not installed. Allowed: basic, {own}. "
            "pip install 'olora-bench[joblib]', 'olora-bench[slurm]' or 'olora-bench[ray]' brings joblib, submitit or Ray"
        )
    if option := re.search(r"Could not find '(\w+)/([^']+)'", text):
        group, name = option.groups()
        return f"{group}={name} is unknown. {allowed_options(group, options(group))}"
    if option := re.search(r"Could not override '(\w+)'.*\nNo match in the defaults list", text):
        return f"{option[1]} is no config group and no key. Check its spelling; `--cfg job` prints every key"
    if "Could not override 'benchmark'" in text:
        return (
            "benchmark=NAME is no choice. Benchmarks are named in lists: "
            "suite.benchmarks=[NAME] (to score), data.benchmarks=[NAME] (to train)"
        )
    if key := re.search(r"Could not override '([^']+)'", text):
        more = (
            f". To add one that the study's file leaves out: +{key[1]}=VALUE"
            if re.match(r"study\.(tuning|seeds|margin)(\.|$)", key[1])
            else ""
        )
        return no_such_key(key[1], _composed(error.__cause__)) + more
    if config := re.search(r"Cannot find primary config '([^']+)'", text):
        return f"there is no config {config[1]!r} in the folders searched. Studies are run with --config-dir sweeps --config-name NAME"
    return text


def _composed(error: BaseException | None) -> list[str]:
    """Every key of the config in which one was not found."""
    node = getattr(error, "parent_node", None)
    found = None if node is None else OmegaConf.to_container(node._get_root(), resolve=False)
    return [key for key in dotted(found) if not key.startswith("hydra")]


def validation_message(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Every problem of a validation by `model`, one a line: key, value, what is allowed. `prefix` is the node that was checked."""
    lines = []
    found = error.errors()
    # One bad entry makes a list too short as well: say only the entry.
    nested = {item["loc"][:end] for item in found for end in range(len(item["loc"]))}
    for item in found:
        if item["type"] == "too_short" and item["loc"] in nested:
            continue
        key = ".".join([prefix] * bool(prefix) + [str(part) for part in item["loc"]])
        if item["type"] == "value_error":
            lines.append(str(item["ctx"]["error"]))
        elif item["type"] == "extra_forbidden":
            above = key.rpartition(".")[0]
            lines.append(no_such_key(key, [f"{above}.{name}" if above else name for name in fields_at(model, item["loc"])]))
        elif item["type"] == "missing":
            lines.append(f"{key} is missing: give it a value")
        else:
            why = (
                _list_wanted(key, item["input"]) if item["type"] == "tuple_type" else _KINDS.get(item["type"]) or _lower_first(item["msg"])
            )
            lines.append(f"{key}={_shortened(repr(item['input']))} is not allowed: {why}")
    return "\n".join(lines)


_KINDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number is"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number is"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false is"),
    "too_short": "name at least one",
}
"""What may stand there, by what Pydantic calls a value that is of another kind."""


def _list_wanted(key: str, value: object) -> str:
    return f"a list is: {key}=[{value}]" if isinstance(value, str | int | float) else "a list is"


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
