"""`python -m olora_bench`: one experiment, composed by Hydra. Torch is imported only once there is something to compute."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from olora_bench.config import Experiment, check_folder, compose, conf_dir, load
from olora_bench.config.compose import searching_first
from olora_bench.config.lines import with_folders_as_written
from olora_bench.config.messages import hydra_message
from olora_bench.config.overruled import check_overruled
from olora_bench.config.own_inits import use_folder
from olora_bench.config.sources import NAME
from olora_bench.errors import BadInput, RecordError, RunFailed, StoreError, of_system
from olora_bench.identity import Identified
from olora_bench.process import terminal
from olora_bench.process.preemption import INTERRUPTED, INTERRUPTED_CODE, Preempted
from olora_bench.process.progress import say
from olora_bench.store import LeaseHeld

EXPECTED = (BadInput, RecordError, RunFailed, StoreError)
OURS = ("olora_bench", "hydra_plugins")
VERBOSE = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""With HYDRA_FULL_ERROR=1 expected errors come with their traceback too."""


def config_dirs(provider: str | None = None) -> list[Path]:
    """The folders that Hydra searched, `--config-dir` first: where a user's own benchmarks may lie. With `provider` only those that it
    brought: `command-line` is `--config-dir`."""
    sources: Any = OmegaConf.to_container(HydraConfig.get().runtime.config_sources, resolve=False)  # `${` in a path is no reference
    paths = (Path(s["path"]) for s in sources if s["schema"] == "file" and provider in (None, s["provider"]))
    return [path for path in dict.fromkeys(paths) if path != conf_dir()]


def _study_name(cfg: DictConfig) -> str | None:
    study = cfg.get("study")
    if study is not None and not (isinstance(study, DictConfig) and isinstance(study.get("name"), str)):
        raise BadInput(f"study={study} is not allowed: a study file's node with a name (see sweeps/demo.yaml)")
    if study is not None and not re.fullmatch(NAME, study.name):
        raise BadInput(f"study.name={study.name!r} is not allowed: letters, digits and _ . + - are, a letter or digit first")
    return None if study is None else str(study.name)


def _carried_out(experiment: Experiment, study: str | None) -> str:
    """Run an experiment, or its finalists; returns the status of what is reported."""
    from olora_bench.run.experiment import run, summary
    from olora_bench.run.finalists import finalists_summary, run_finalists
    from olora_bench.study.run_plan import run_plan
    from olora_bench.study.status import announced

    def foretell(what: Identified) -> None:
        if study is None:  # a study has its plan
            say(run_plan(what))

    if experiment.finalists is not None:
        status = run_finalists(experiment, study=study, announce=lambda one: announced(one, study), foretell=foretell).status
    else:
        with announced(experiment, study):
            status = run(experiment, study=study, foretell=foretell).status
    if study is None or HydraConfig.get().mode != RunMode.MULTIRUN:  # a study has its report
        print(summary(experiment) if experiment.finalists is None else finalists_summary(experiment))
    return status


def task(cfg: DictConfig) -> str:
    """Run the composed experiment; returns its status. In a study the record is what counts: a failure is said and stops nothing."""
    terminal.prepare()  # a launcher may have started this process
    study = None
    try:
        for folder in config_dirs("command-line"):  # in this process, which a launcher may have started, nobody has trusted it yet
            use_folder(folder)
        study = _study_name(cfg)
        check_overruled(cfg, HydraConfig.get().overrides.task)
        experiment = load(cfg, config_dirs())
        return _carried_out(experiment, study)
    except LeaseHeld as held:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            print(held, file=sys.stderr)
            raise SystemExit(2) from None
        say(f"left to another worker: {held}")
        return "running"
    except Preempted:
        if HydraConfig.get().mode == RunMode.MULTIRUN and not HydraConfig.get().launcher._target_.endswith(".BasicLauncher"):
            return "interrupted"  # this process is the launcher's, and it was asked to end: the sweep hears what became of the run
        raise
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            say(str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}")
            return "failed"
        if isinstance(error, EXPECTED) and not VERBOSE:
            # Leaving here, and not by the exception, keeps Hydra from printing its own account of it.
            print(error, file=sys.stderr)
            raise SystemExit(1 if isinstance(error, RunFailed) else 2) from None
        raise


def in_hydras_order(arguments: Sequence[str]) -> list[str]:
    """A command line as Hydra takes it: options before overrides, and folders of the machine that it reads as they are written."""
    parser = get_args_parser()
    parser.error = _no_option  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(list(arguments)).overrides
    options = list(arguments)
    for one in overrides:
        options.remove(one)
    return [*options, *with_folders_as_written(overrides)]


def _no_option(message: str) -> NoReturn:
    raise BadInput(
        f"{message}. Settings are KEY=VALUE without dashes, such as lr=1e-3. Options: --help, --cfg job, --config-dir, --config-name, -m"
    )


def _check_composed(arguments: Sequence[str]) -> None:
    """What `--cfg job` has printed is what a run would take: refused where a run would be. Of a study only the points of its grids run."""
    given = get_args_parser().parse_args(list(arguments))
    if given.cfg == "job" and not given.help:
        own = [Path(one) for one in (given.config_dir, given.config_path) if one is not None]
        cfg = compose(given.overrides, config_name=given.config_name or "config", config_dir=own[0] if own else None)
        if cfg.study is None:
            load(cfg, own)


def _of_composing(error: Exception) -> bool:
    """Whether Hydra and what it calls raised it while they read a user's files and overrides: none of our own code was at work."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code is not main.__code__]
    return not any(frame.f_globals.get("__name__", "").split(".")[0] in (*OURS, __name__) for frame in frames)


def _message(error: Exception) -> str:
    if isinstance(error, EXPECTED):
        return str(error)
    return of_system(error) if isinstance(error, OSError) and not isinstance(error, HydraException) else hydra_message(error)


def _check_config_dirs(arguments: Sequence[str], study_dir: Path | None) -> None:
    """What Hydra will read of a user's own folders is read once before it."""
    given = get_args_parser().parse_args(list(arguments))
    if given.config_dir is not None:
        use_folder(Path(given.config_dir))
    for folder in (given.config_dir, given.config_path, study_dir):
        if folder is not None:
            check_folder(Path(folder), given.config_name or "config")


def main(arguments: Sequence[str] | None = None, *, study_dir: Path | None = None) -> None:
    """Entry point of the command line. Exit codes: 0 done, 1 the run failed, 2 the request cannot be carried out as written, 130 Ctrl-C,
    128 and the signal's number where one asked it to end.

    Args:
        arguments: the command line's; null is this process's own.
        study_dir: searched before `conf/`.
    """
    terminal.prepare()
    # Without it Hydra prints composition errors itself, with a hint at stack traces, and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv = [sys.argv[0], *in_hydras_order(sys.argv[1:] if arguments is None else arguments)]
        _check_config_dirs(sys.argv[1:], study_dir)
        with searching_first(study_dir):
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)()
        _check_composed(sys.argv[1:])
    except Exception as error:
        if VERBOSE or not (isinstance(error, (*EXPECTED, OSError)) or _of_composing(error)):
            raise
        print(_message(error), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if VERBOSE:
            raise
        print(INTERRUPTED, file=sys.stderr)
        raise SystemExit(INTERRUPTED_CODE) from None


if __name__ == "__main__":
    main()
