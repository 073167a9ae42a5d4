"""A study may be somebody else's: its files do not decide which code runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from planting import MakeStudy

from olora_bench.config import sweeps_dir
from olora_bench.errors import BadInput
from olora_bench.study.__main__ import main
from olora_bench.study.schema import check_hydra

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: [0, 1]}]
"""


def test_a_study_cannot_let_a_models_code_run(study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        study(NODE, more="model: {trust_remote_code: true}").grids()
    assert str(error.value) == (
        f"{tmp_path}/sweeps/throwaway.yaml: model.trust_remote_code=true of tiny_tinyllama comes with the study, and runs code that comes "
        "with the model. Say so yourself, once you have read that code: in conf/model/, or on the command line with "
        "model.trust_remote_code=true"
    )


def test_who_types_the_command_can(study: MakeStudy) -> None:
    jobs = study(NODE, "model.trust_remote_code=true").grids().jobs
    assert all(job.experiment.model.trust_remote_code for job in jobs)


TRAPS = {
    "callbacks": "{mode: MULTIRUN, callbacks: {x: {_target_: os.system, command: touch pwned}}}",
    "launcher": "{mode: MULTIRUN, launcher: {_target_: os.system}}",
    "sweeper": "{mode: MULTIRUN, sweeper: {_target_: os.system}}",
    "job_logging": "{mode: MULTIRUN, job_logging: {version: 1, formatters: {x: {(): os.system}}}}",
    "job": "{mode: MULTIRUN, job: {env_set: {LD_PRELOAD: pwned}}}",
}


@pytest.mark.parametrize("key", TRAPS)
def test_a_study_cannot_set_what_hydra_does(study: MakeStudy, capsys: pytest.CaptureFixture[str], key: str) -> None:
    path = study(NODE).file.path
    path.write_text(path.read_text().replace("{mode: MULTIRUN}", TRAPS[key]))
    with pytest.raises(SystemExit) as left:
        main(["run", str(path)])
    assert left.value.code == 2
    assert capsys.readouterr().err.strip() == (
        f"{path}: the study sets hydra.{key}, with which Hydra runs code that it names. "
        "Leave that out, and give what you want of it on the command line, e.g. hydra/launcher=processes"
    )


@pytest.mark.parametrize("command", ["run", "plan", "status", "report", "figures"])
def test_a_study_cannot_have_hydra_search_elsewhere(study: MakeStudy, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Not through a reference either; a package there would be imported by whatever composes the study."""
    path = study(NODE).file.path
    path.write_text(
        path.read_text().replace("hydra: {mode: MULTIRUN}", "hydra: ${there}\nthere: {searchpath: ['pkg://this', 'file:///evil']}")
    )
    with pytest.raises(SystemExit) as left:
        main([command, str(path)])
    assert left.value.code == 2 and "this" not in sys.modules
    assert capsys.readouterr().err.strip() == (
        f"{path}: hydra.searchpath=['pkg://this', 'file:///evil'] is not allowed in a study file: configs come from its folder and from "
        "conf/. Leave it out, and give it on the command line if you trust what lies there: hydra.searchpath=[...]"
    )


@pytest.mark.parametrize("overrides", [[], ["hydra/launcher=processes", "hydra.launcher.n_jobs=2"], ["hydra.sweeper.retry=true"]], ids=str)
def test_shipped_studies_and_the_command_line_may_choose(overrides: list[str]) -> None:
    check_hydra(sweeps_dir() / "demo.yaml", overrides)
