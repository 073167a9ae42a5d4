"""`python -m olora_bench`: one experiment, composed by Hydra. Torch is imported only once there is something to compute."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from olora_bench.config import conf_dir, load
from olora_bench.config.compose import hydra_message
from olora_bench.errors import BadInput, StoreError


def config_dirs() -> list[Path]:
    """The folders that Hydra searched, `--config-dir` first: where a user's own benchmarks may lie."""
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file" and Path(source.path) != conf_dir()]


def task(cfg: DictConfig) -> str:
    """Run the composed experiment; returns its train_id."""
    single = HydraConfig.get().mode == RunMode.RUN
    try:
        from olora_bench.experiment import run

        return run(load(cfg, config_dirs()), study=cfg.study.name if cfg.get("study") else None).train_id
    except (BadInput, StoreError) as error:
        if not single:
            raise
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def main() -> None:
    """Entry point of the command line. Exit codes: 0 done, 1 the run failed, 2 the request cannot be carried out as written."""
    verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Without it Hydra prints composition errors itself, with a hint at stack traces, and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException, BadInput) as error:
        if verbose:
            raise
        print(hydra_message(error), file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
