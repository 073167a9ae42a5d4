"""The thin file through which Hydra finds the study sweeper, its folder, and models that have no YAML.

Hydra 1.3 accepts plugins under `hydra_plugins` only.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

# `override hydra/sweeper: study` in a study file chooses it. A plain dict: Hydra executes plugin files before they are importable,
# which dataclasses do not survive.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="study",
    node={"_target_": "hydra_plugins.olora_bench_sweeper.StudySweeper", "retry": False},
    provider="olora_bench",
)


class StudyFolder(SearchPathPlugin):
    """Has Hydra search a study's folder before `conf/`, whatever characters its path has: `hydra.searchpath` would be read as grammar."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from olora_bench.config.compose import searched_first
        from olora_bench.config.own_inits import own_folders

        first = searched_first()
        for folder in [*reversed(own_folders()), *([] if first is None else [first])]:
            search_path.prepend("olora_bench", f"file://{folder}", anchor="main")
        search_path.append("olora_bench", "olora-bench://unwritten")


class UnwrittenOptions(ConfigSource):
    """Options that have no YAML: `model=hub:org/name` and `model=local:FOLDER`, each made of what its config.json says, and `init=NAME` of
    the user's own modules and installed packages."""

    @staticmethod
    def scheme() -> str:
        return "olora-bench"

    def available(self) -> bool:
        return True

    def is_config(self, config_path: str) -> bool:
        from olora_bench.config.choices import is_described
        from olora_bench.config.own_inits import own_modules

        group, _, name = config_path.partition("/")
        return (group == "model" and is_described(name)) or (group == "init" and name in own_modules())

    def load_config(self, config_path: str) -> ConfigResult:
        from olora_bench.assets.describe import described

        group, _, name = config_path.partition("/")
        node = described(name) if group == "model" else {"name": name, "module": name}
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(node), {"package": None})

    def is_group(self, config_path: str) -> bool:
        return False

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


class StudySweeper(Sweeper):
    """Expands the composed study's grids and hands the runs that are missing to whichever Hydra launcher is configured."""

    def __init__(self, retry: bool) -> None:
        self.retry = retry
        self.config: DictConfig | None = None
        self.launcher = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        from olora_bench.study.sweep import sweep

        assert self.config is not None and self.launcher is not None
        return sweep(self.config, self.launcher, arguments, retry=self.retry)
