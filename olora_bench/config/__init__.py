"""The typed schema of an experiment and its checks. Imports no torch."""

from olora_bench.config.choices import claims_dir, conf_dir, options, sweeps_dir
from olora_bench.config.compose import check_folder, compose, load, load_benchmark, machine, plain
from olora_bench.config.schema import (
    Benchmark,
    Data,
    Experiment,
    GeneratedModel,
    Init,
    Machine,
    Model,
    Recipe,
    Suite,
    Tracker,
)
from olora_bench.config.sources import HubSource, PackagedSource

__all__ = [
    "Benchmark",
    "Data",
    "Experiment",
    "GeneratedModel",
    "HubSource",
    "Init",
    "Machine",
    "Model",
    "PackagedSource",
    "Recipe",
    "Suite",
    "Tracker",
    "check_folder",
    "claims_dir",
    "compose",
    "conf_dir",
    "load",
    "load_benchmark",
    "machine",
    "options",
    "plain",
    "sweeps_dir",
]
