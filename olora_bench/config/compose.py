"""From YAML files and overrides to a checked `Experiment`: Hydra composes, this module checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, TypeGuard

from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from olora_bench.config.choices import conf_dir, options
from olora_bench.config.init_options import check_name
from olora_bench.config.lines import with_folders_as_written
from olora_bench.config.lm_eval_tasks import described_task, groups_of
from olora_bench.config.messages import hydra_message, validation_message
from olora_bench.config.overruled import check_overruled
from olora_bench.config.own_inits import own_folders, own_modules
from olora_bench.config.schema import Benchmark, Experiment, Init, Machine
from olora_bench.errors import BadInput
from olora_bench.formats import Overgrown, Unreadable, is_file, read_yaml

NODES = ("model", "init", "data", "recipe", "suite", "tracker", "machine")
"""Nodes of a config that have keys of their own."""

_SEARCHED_FIRST: ContextVar[Path | None] = ContextVar("searched_first", default=None)
_COMPOSING = RLock()


@contextmanager
def searching_first(folder: Path | None) -> Iterator[None]:
    """Hydra, where it is started inside, searches `folder` before `conf/`. No path is put into a line that Hydra reads."""
    token = _SEARCHED_FIRST.set(folder)
    try:
        yield
    finally:
        _SEARCHED_FIRST.reset(token)


def searched_first() -> Path | None:
    """The folder of `searching_first`, for the plugin through which Hydra hears of it."""
    return _SEARCHED_FIRST.get()


def compose(
    overrides: Sequence[str] = (), *, config_name: str = "config", config_dir: Path | None = None, whole: bool = False
) -> DictConfig:
    """Compose a config as the command line would.

    Args:
        overrides: Hydra overrides, e.g. `["model=tinyllama", "lr=1e-3"]`.
        config_name: the top config; a study file's name when `config_dir` is the folder of studies.
        config_dir: a folder searched before `conf/`.
        whole: with Hydra's own node, `hydra`.

    Raises:
        BadInput: an unknown option or key, with what is allowed; an override that would do nothing.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    first = None if config_dir is None else Path(config_dir).resolve()
    if first is not None:
        check_folder(first, config_name)
    # A sweeper composes inside a running Hydra application, which must find its own state again afterwards.
    # Its state is one for the whole process, so that one thread composes at a time.
    with _COMPOSING:
        running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            with searching_first(first), initialize_config_dir(str(conf_dir()), version_base="1.3"):
                cfg = hydra_compose(config_name, overrides=with_folders_as_written(overrides), return_hydra_config=whole)
        except Exception as error:  # what a library's grammars make of a user's text is no list of errors that it keeps to
            raise BadInput(hydra_message(error)) from error
        finally:
            GlobalHydra.instance().hydra = running
    check_overruled(cfg, overrides)
    return cfg


def check_folder(searched: Path, config_name: str) -> None:
    """Read what Hydra will read of a user's folder: it would write out anchors that grow without end.

    Raises:
        Unreadable: the top config is no YAML, or an option of a group is none that can be read in time.
    """
    top = searched / f"{config_name.removesuffix('.yaml')}.yaml"
    if is_file(top):  # Hydra opens nothing else
        read_yaml(top)
    for path in (path for group in (*NODES, "hydra/*") for path in searched.glob(f"{group}/*.yaml") if is_file(path)):
        try:
            read_yaml(path)
        except Overgrown:
            raise
        except Unreadable:
            continue  # Hydra trips over it where it is asked for


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain values, its interpolations resolved.

    Raises:
        BadInput: an interpolation cannot be resolved or would put what this machine alone should know into a record; a node has not the
            form of the shipped one.
    """
    written: dict[str, object] = {}
    try:
        written = dict(_leaves(OmegaConf.to_container(cfg, resolve=False)))
        for key, value in written.items():
            _check_interpolation(key, value)
        raw = OmegaConf.to_container(cfg, resolve=True)
    except BadInput:
        raise
    except Exception as error:  # a resolver may raise anything
        raise BadInput(hydra_message(error, written)) from error
    assert isinstance(raw, dict)
    for key, value in _leaves(raw):
        _check_value(key, value)
    if not any(node in raw for node in NODES):
        raise BadInput("this config has no model, no data and no other part of a run: begin it with `defaults: [config, _self_]`")
    for node in NODES:
        if not isinstance(raw.get(node), dict):
            raise BadInput(f"{node}={raw.get(node)!r} is not allowed: it has keys of its own. Choose an option: {node}=NAME")
    return {str(key): value for key, value in raw.items()}


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested ones, with the key that it stands under."""
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(one, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _check_value(key: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise BadInput(f"{key}: a whole number of {value.bit_length()} bits is not allowed. Give one between -2^63 and 2^63")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"{key}={value!r} is not allowed: it holds bytes that are no UTF-8 text") from None


def _check_interpolation(key: str, text: Any) -> None:
    """Records and W&B keep all but the folders of a machine: what comes from its environment must not get there."""
    if not isinstance(text, str) or "${" not in text or key.startswith(("machine.", "hydra.")):
        return
    if re.search(r"\$\{[^}]*[:$]|\$\{[.\[\s]*(machine|hydra)\b", text):
        raise BadInput(
            f"{key}={text}: what the environment, Hydra or this machine says would be kept in records. "
            "Write the value itself; an environment variable may be named in machine.* only"
        )


def load_benchmark(name: str, extra_dirs: Sequence[Path] = ()) -> Benchmark:
    """Read and check `conf/benchmark/<name>.yaml`; `extra_dirs` are searched first, lm-eval's tasks last.

    Raises:
        BadInput: there is no such file and no such task, or it does not fit the schema.
    """
    for folder in (*extra_dirs, *own_folders(), conf_dir()):
        path = folder / "benchmark" / f"{name}.yaml"
        # The name may come from somebody else's record: it is one of this folder's files, and no path.
        if re.fullmatch(r"[\w.+-]+", name) and is_file(path):
            return _read_benchmark(path, path.stat().st_mtime_ns)
    if (described := described_task(name)) is not None:
        return described
    allowed = ", ".join(options("benchmark", extra_dirs))
    raise BadInput(
        f"unknown benchmark {name!r}. Allowed: {allowed}; any multiple-choice task of the installed lm-eval by its name. "
        "A new one is one file in conf/benchmark/"
    )


def _written_out(raw: dict[str, object], extra_dirs: Sequence[Path]) -> dict[str, object]:
    """With the tasks of lm-eval's groups in place of the groups that a suite names."""
    suite = raw.get("suite")
    listed = suite.get("benchmarks") if isinstance(suite, dict) else None
    if not isinstance(suite, dict) or not _is_listed(listed):
        return raw
    known = options("benchmark", extra_dirs)
    asked = {name: groups_of(name) for name in listed if isinstance(name, str) and name not in known}
    names = [one for name in listed for one in (asked[name][name].tasks if asked.get(name) else [name])]
    groups = {name: group.model_dump() for found in asked.values() for name, group in found.items()}
    return raw | {"suite": suite | {"benchmarks": names} | ({"groups": groups} if groups else {})}


@cache
def _read_benchmark(path: Path, changed_ns: int) -> Benchmark:
    # A plan of a thousand runs asks for each file a thousand times, and reading YAML takes 10 ms.
    try:
        return Benchmark.model_validate(read_yaml(path))
    except ValidationError as error:
        raise BadInput(f"{path}: {validation_message(error, Benchmark)}") from error


def load(cfg: DictConfig | Mapping[str, object], extra_dirs: Sequence[Path] = (), *, recorded: bool = False) -> Experiment:
    """Check a composed config and return the experiment it describes.

    Args:
        cfg: a composed config; its `study` and `hydra` nodes are not part of an experiment.
        extra_dirs: config folders searched for benchmarks and inits before the shipped ones.
        recorded: the config is a record's, so that its init's name has been accepted before, perhaps beside other files.

    Raises:
        BadInput: unknown key, bad value or impossible combination; names the key, the value and what is allowed.
    """
    raw = plain(cfg) if isinstance(cfg, DictConfig) else dict(cfg)
    raw = {str(k): v for k, v in raw.items() if k not in ("study", "hydra")}
    if raw.get("alpha") is None:
        # A rank that is no positive number is refused below; it should not be reported as a bad alpha too.
        rank = raw.get("rank")
        raw["alpha"] = rank / 2 if isinstance(rank, int) and 0 < rank < 2**63 else 1.0
    raw = _written_out(raw, extra_dirs)
    raw["benchmarks"] = {name: load_benchmark(name, extra_dirs).model_dump() for name in _named_benchmarks(raw)}
    try:
        experiment = Experiment.model_validate(raw)
        if not recorded:
            check_name(experiment.init, _inits(extra_dirs))
    except ValidationError as error:
        raise BadInput(validation_message(error, Experiment)) from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    return experiment


def _inits(extra_dirs: Sequence[Path]) -> dict[str, Init]:
    paths = [path for folder in (conf_dir(), *extra_dirs, *own_folders()) for path in (folder / "init").glob("*.yaml")]
    found = [init for path in paths if (init := _read_init(path, path.stat().st_mtime_ns)) is not None]
    return {name: Init(name=name, module=name) for name in own_modules()} | {init.name: init for init in found}


@cache
def _read_init(path: Path, changed_ns: int) -> Init | None:
    """None where it is no init: composing an experiment with it raises the error."""
    try:
        return Init.model_validate(read_yaml(path))
    except (ValidationError, Unreadable):
        return None


def machine(cfg: DictConfig | Mapping[str, object]) -> Machine:
    """The machine of a composed config, for who needs its folders alone.

    Raises:
        BadInput: unknown key or bad value, or as for `plain`.
    """
    try:
        return Machine.model_validate((plain(cfg) if isinstance(cfg, DictConfig) else cfg)["machine"])
    except ValidationError as error:
        raise BadInput(validation_message(error, Machine, "machine")) from error


def _named_benchmarks(raw: Mapping[str, object]) -> list[str]:
    names: list[str] = []
    for node, key in (("data", "benchmarks"), ("data", "decontaminate"), ("suite", "benchmarks")):
        of = raw.get(node)
        listed = (of.get(key) if isinstance(of, dict) else None) or []
        names += [n for n in listed if isinstance(n, str) and n not in names] if _is_listed(listed) else []
    return names


def _is_listed(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is several values, and no text; the schema refuses what is not."""
    return isinstance(value, Iterable) and not isinstance(value, str)
