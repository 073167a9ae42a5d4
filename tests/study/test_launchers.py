"""Any Hydra launcher runs a study: processes of this machine (joblib), Slurm (submitit: its local executor, and a mocked cluster), Ray."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest
from omegaconf import OmegaConf
from planting import MakeStudy, PlantRun

from olora_bench.config import compose, conf_dir
from olora_bench.errors import BadInput
from olora_bench.process import hardware
from olora_bench.store import RunRecord, Store
from olora_bench.study.jobs import Job
from olora_bench.study.open import OpenStudy
from olora_bench.study.sweep import Launcher, check_precision, sweep_study
from tests.fixture_types import Cli

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
"""
MORE = "recipe: {steps: 3, loss_evaluations: 1}\nlr: 1.0e-3"


def launched(study: MakeStudy, cli: Cli, cache_dir: Path, *launcher: str) -> None:
    opened = study(NODE, more=MORE)
    overrides = [*opened.file.overrides, f"machine.cache_dir={cache_dir}", "machine.device=cpu", "machine.threads=1"]
    done = cli("run", str(opened.file.path), *overrides, *launcher, module="olora_bench.study", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = [one for one in Store(opened.store.root).iter_runs() if isinstance(one, RunRecord)]
    assert [(one.status, one.attempts) for one in runs] == [("done", 1)] * 2


def test_joblib(study: MakeStudy, cli: Cli, cache_dir: Path) -> None:
    """The preset `processes`: two runs at once in two processes."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launched(study, cli, cache_dir, "hydra/launcher=processes", "hydra.launcher.n_jobs=2")


@pytest.mark.slow
def test_submitit_local(study: MakeStudy, cli: Cli, cache_dir: Path, tmp_path: Path) -> None:
    """submitit's own job protocol (pickled task, job folder, results read back), without a cluster."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launched(study, cli, cache_dir, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10")


@pytest.mark.slow
def test_ray(study: MakeStudy, cli: Cli, cache_dir: Path) -> None:
    """A real local Ray; without a GPU slots are CPUs."""
    if find_spec("ray") is None or find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip("Ray is not installed: pip install 'olora-bench[ray]'")
    launched(
        study, cli, cache_dir, "hydra/launcher=ray_gpus", "hydra.launcher.ray.remote.num_gpus=0", "hydra.launcher.ray.remote.num_cpus=1"
    )


class Cluster:
    """A mocked Slurm: notes what is asked for, plants each job's record, and loses the job that it is told to."""

    def __init__(self, plant: PlantRun, jobs: list[Job], lost: int | None) -> None:
        self.plant, self.jobs, self.lost = plant, jobs, lost
        self.parameters: dict[str, object] = {}
        self.arrays: list[list[list[str]]] = []

    def __call__(self, *, cluster: str, folder: str, **init: object) -> SimpleNamespace:
        self.parameters |= {"cluster": cluster, **init}
        return SimpleNamespace(update_parameters=self.parameters.update, map_array=self.map_array)

    def map_array(self, call: object, overrides: Sequence[list[str]], *_: object) -> list[SimpleNamespace]:
        self.arrays.append(list(overrides))
        return [SimpleNamespace(results=lambda n=n: self.result(n)) for n in range(len(overrides))]

    def result(self, number: int) -> list[str]:
        if number == self.lost:
            raise RuntimeError("Job 1_0 has not produced any output (state: OUT_OF_MEMORY)\nStderr is empty")
        self.plant(self.jobs[number].what, 1.5)
        return ["done"]


class Slurm(Protocol):
    """Gives an open study, the cluster that it goes to, and Hydra's launcher of that cluster; `lost` is the job that gets lost."""

    def __call__(self, *preset: str, lost: int | None = None) -> tuple[OpenStudy, Cluster, Launcher]: ...


@pytest.fixture
def slurm(study: MakeStudy, plant_run: PlantRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Slurm:
    """An open study, a cluster, and Hydra's own Slurm launcher made from the preset."""
    submitit = pytest.importorskip("submitit")
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.utils import instantiate

    def make(*preset: str, lost: int | None = None) -> tuple[OpenStudy, Cluster, Launcher]:
        opened = study(NODE)
        cluster = Cluster(plant_run, list(opened.grids().jobs), lost)
        monkeypatch.setattr(submitit, "AutoExecutor", cluster)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra_compose("config", overrides=["hydra/launcher=slurm", *preset], return_hydra_config=True)
        config.hydra.launcher.submitit_folder = str(tmp_path / ".submitit")
        launcher = instantiate(config.hydra.launcher)
        launcher.setup(hydra_context=None, task_function=None, config=OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
        return opened, cluster, launcher

    return make


def test_slurm_gets_what_the_preset_says_and_one_job_a_run(slurm: Slurm) -> None:
    opened, cluster, launcher = slurm("hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=720")
    found = sweep_study(opened, launcher, opened.file.overrides)
    assert {s.state for s in found} == {"done"}
    wanted = {"cluster": "slurm", "slurm_partition": "gpu", "timeout_min": 720, "gpus_per_node": 1, "slurm_array_parallelism": 16}
    assert wanted.items() <= cluster.parameters.items()
    assert [len(array) for array in cluster.arrays] == [2]
    assert [line for line in cluster.arrays[0][1] if line.startswith(("init=", "machine."))] == [*opened.file.overrides, "init='olora'"]


def test_a_job_that_slurm_lost_neither_stops_the_study_nor_is_hidden(slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    """The launcher raises for it; the study says so, and its run is shown as not done."""
    opened, _, launcher = slurm(lost=1)
    found = sweep_study(opened, launcher, opened.file.overrides)
    assert [s.state for s in found] == ["done", "missing"]
    assert "the launcher gave up: RuntimeError: Job 1_0 has not produced any output (state: OUT_OF_MEMORY)" in capsys.readouterr().err


def test_a_launcher_whose_package_is_absent() -> None:
    with pytest.raises(BadInput) as error:
        compose(["hydra/launcher=nope"])
    assert str(error.value) == (
        "hydra/launcher=nope is unknown or its package is not installed. Allowed: basic, processes, ray_gpus, slurm. "
        "pip install 'olora-bench[joblib]', 'olora-bench[slurm]' or 'olora-bench[ray]' brings joblib, submitit or Ray"
    )


@pytest.mark.parametrize("asked", [[], ["precision=fp32"], ["machine.device=cuda"], ["machine.device=cpu"]], ids=str)
def test_precision_is_not_settled_without_a_gpu_for_machines_that_may_have_one(
    asked: list[str], study: MakeStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A login node says so before anything is asked for or locked; named precision, or a named device, settles it."""
    monkeypatch.setattr(hardware, "DEVICES", tmp_path)
    opened = study(NODE, "precision=auto", *asked)
    opened.grids()

    class SlurmLauncher:
        """Hydra's is recognised by its name."""

    class BasicLauncher(SlurmLauncher):
        """This machine's."""

    check_precision(opened, BasicLauncher())  # type: ignore[arg-type]
    if asked:
        check_precision(opened, SlurmLauncher())  # type: ignore[arg-type]
        return
    with pytest.raises(BadInput) as error:
        check_precision(opened, SlurmLauncher())  # type: ignore[arg-type]
    assert str(error.value) == (
        "precision=auto would be settled by this machine, which has no GPU, and SlurmLauncher runs the study on others. "
        "Allowed: precision=bf16, fp16 or fp32; or machine.device=cuda or cpu, which settles it. Add one to the command"
    )
