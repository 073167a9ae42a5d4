"""The typed schema of an experiment and its checks. Imports no torch."""

from olora_bench.config.compose import claims_dir, compose, conf_dir, load, load_benchmark, machine, options, sweeps_dir
from olora_bench.config.schema import (
    Benchmark,
    Data,
    Experiment,
    GeneratedModel,
    HubSource,
    Init,
    Machine,
    Model,
    PackagedSource,
    Recipe,
    Suite,
    Tracker,
)

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
    "claims_dir",
    "compose",
    "conf_dir",
    "load",
    "load_benchmark",
    "machine",
    "options",
    "sweeps_dir",
]
