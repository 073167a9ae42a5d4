"""What a bad study file gets: what was wrong, the value, what is allowed, what to do. The complete text is compared."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from planting import MakeStudy

from olora_bench.config import options
from olora_bench.config.choices import allowed_options
from olora_bench.errors import BadInput
from olora_bench.store import LeaseHeld, lease
from olora_bench.study.expand import StudyFile, find_study
from olora_bench.study.plan import plan_text
from olora_bench.study.report import report
from olora_bench.study.schema import Study
from tests.fixture_types import Cli
from tests.study_text import study_text

GOOD = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: [0, 1]}]
"""
TUNING = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], fresh_seeds: [1]}
"""

CASES = {
    "unknown key": (GOOD + "gridz: []\n", "{path}: study.gridz: there is no such key. Nearest: study.grids. Keys of study: {keys}"),
    "a contrast without its reference": (
        GOOD.replace("reference", "refrence"),
        "{path}: study.contrasts.0.reference is missing: give it a value\n"
        "study.contrasts.0.refrence: there is no such key. Nearest: study.contrasts.0.reference. "
        "Keys of study.contrasts.0: arm, reference, kind",
    ),
    "empty grid list": (
        GOOD.replace("[lora, olora]", "[]"),
        "{path}: study.grids.0.init is empty: give at least one value, or leave the key out",
    ),
    "a grid's reference to nothing": (
        GOOD.replace("seed: [0, 1]", 'seed: [0, 1], rank: "${nothing}"'),
        "study.grids.0.rank=${{nothing}}: this reference leads to no value (Interpolation key 'nothing' not found). Write the value "
        "itself, or ${{KEY}} with a key that `--cfg job` prints; for the characters themselves put a backslash before ${{",
    ),
    "a grid's reference that has no end": (
        GOOD.replace("seed: [0, 1]", 'seed: [0, 1], rank: "${"'),
        "study.grids.0.rank=a reference: this reference leads to no value (no viable alternative at input '${{'). Write the value itself, "
        "or ${{KEY}} with a key that `--cfg job` prints; for the characters themselves put a backslash before ${{",
    ),
    "no grid": (
        GOOD.replace("[{init: [lora, olora], seed: [0, 1]}]", "[]"),
        "{path}: study.grids=[] is not allowed: name at least one",
    ),
    "a contrast twice": (
        GOOD.replace("kind: primary}]", "kind: primary}, {arm: olora, reference: lora, kind: secondary}]"),
        "{path}: study.contrasts: olora against lora is no comparison, or stands there twice: two arms, each pair once",
    ),
    "a contrast turned": (
        GOOD.replace("kind: primary}]", "kind: primary}, {arm: lora, reference: olora, kind: primary}]"),
        "{path}: study.contrasts: olora against lora is no comparison, or stands there twice: two arms, each pair once",
    ),
    "an arm against itself": (
        GOOD.replace("reference: lora", "reference: olora"),
        "{path}: study.contrasts: olora against olora is no comparison, or stands there twice: two arms, each pair once",
    ),
    "value outside a group": (GOOD.replace("olora]", "nope]"), "{path}: study.grids.0.init='nope' is unknown. {inits}"),
    "no such key": (
        GOOD.replace("seed:", "recipe.stps:"),
        "{path}: study.grids.0.recipe.stps: there is no such key. Nearest: recipe.steps. Use a config group (model, init, data, recipe, "
        "suite, tracker) or a key that `--cfg job` prints",
    ),
    "arm not in the grid": (
        GOOD.replace("arm: olora", "arm: pissa"),
        "{path}: a contrast's arm is 'pissa', which no grid runs. Arms of the grids: lora, olora",
    ),
    "arms that share no suite": (
        GOOD.replace(
            "{init: [lora, olora], seed: [0, 1]}",
            "{init: lora, suite: commonsense6_made_up}, {init: olora, suite: commonsense6_made_up, suite.limit: 4}",
        ),
        "{path}: no run of olora can be compared with one of lora, which is a contrast: the first ones differ in suite.limit: 4 -> 8. "
        "Put the two into one grid",
    ),
    "arms that share no alpha": (
        TUNING.replace("{init: [lora, olora]}", "{init: lora, alpha: 16}, {init: olora, alpha: 8}"),
        "{path}: no run of olora can be compared with one of lora, which is a contrast: the first ones differ in alpha: 8.0 -> 16.0. "
        "Put the two into one grid",
    ),
    "protocol": (
        GOOD.replace("shared_lr", "fair"),
        "{path}: study.protocol='fair' is not allowed: input should be 'shared_lr' or 'tuned'",
    ),
    "tuned without tuning": (
        GOOD.replace("shared_lr", "tuned"),
        "{path}: study.protocol is tuned, but study.tuning is missing: give criterion, lrs and seeds",
    ),
    "lr in a tuned grid": (
        TUNING.replace("olora]}", "olora], lr: [1.0e-3]}"),
        "{path}: study.grids.0.lr: study.tuning sets it for each run: leave it out",
    ),
    "lrs off the ladder": (
        TUNING.replace("3.16e-4", "2.0e-4"),
        "{path}: study.tuning.lrs=[0.0001, 0.0002, 0.001]: each must be a power of sqrt(10): 1e-4, 3.16e-4, 1e-3, 3.16e-3, ...",
    ),
    "lrs with a gap": (
        TUNING.replace("1.0e-3", "1.0e-2"),
        "{path}: study.tuning.lrs=[0.0001, 0.000316, 0.01]: each must be sqrt(10) times the one before: leave none out, smallest first",
    ),
    "seeds not fresh": (
        TUNING.replace("fresh_seeds: [1]", "fresh_seeds: [0, 1]"),
        "{path}: study.tuning.fresh_seeds=[0, 1]: [0] are tuning seeds: choose seeds that chose nothing",
    ),
    "an even number of finalists": (
        TUNING.replace("fresh_seeds: [1]", "fresh_seeds: [1], finalists: 2"),
        "{path}: study.tuning.finalists=2 is not allowed: input should be 1, 3 or 5",
    ),
    "a refinement that there is not": (
        TUNING.replace("fresh_seeds: [1]", "fresh_seeds: [1], refinement: cubic"),
        "{path}: study.tuning.refinement='cubic' is not allowed: input should be 'neighbours' or 'parabola'",
    ),
    "finalists at a shared rate": (
        TUNING.replace("fresh_seeds: [1]", "fresh_seeds: [1], finalists: 3, shared_lr: 3.0e-4"),
        "{path}: study.tuning.shared_lr=0.0003 with finalists=3: a shared rate chooses nothing. Leave one of the two out, and compare at a "
        "shared rate in a study of its own (protocol: shared_lr)",
    ),
    "looks that do not rise": (
        GOOD.replace(", seed: [0, 1]", "") + "seeds: {looks: [6, 6]}\n",
        "{path}: study.seeds.looks=[6, 6]: each must be larger than the one before, e.g. [6, 8, 12, 16, 20]",
    ),
    "no look": (
        GOOD.replace(", seed: [0, 1]", "") + "seeds: {looks: []}\n",
        "{path}: study.seeds.looks=[] is not allowed: name at least one",
    ),
    "a look at nothing": (
        GOOD.replace(", seed: [0, 1]", "") + "seeds: {looks: [0, 6]}\n",
        "{path}: study.seeds.looks.0=0 is not allowed: input should be greater than or equal to 1",
    ),
    "seeds twice": (GOOD + "seeds: {looks: [6]}\n", "{path}: study.grids.0.seed: study.seeds sets it for each run: leave it out"),
    "reported seeds twice": (
        TUNING + "seeds: {looks: [6]}\n",
        "{path}: study.seeds and study.tuning.fresh_seeds are both given: study.seeds gives the reported seeds; leave the other out",
    ),
    "tuned without reported seeds": (
        TUNING.replace(", fresh_seeds: [1]", ""),
        "{path}: study.seeds is missing: under protocol tuned give study.seeds.looks, e.g. [6, 8, 12, 16, 20]",
    ),
    "reported seeds that chose": (
        TUNING.replace("seeds: [0], fresh_seeds: [1]", "seeds: [0, 12]") + "seeds: {looks: [6]}\n",
        "{path}: study.seeds.first=10: [12] are tuning seeds: choose seeds that chose nothing",
    ),
    "a block in a grid": (
        TUNING.replace("olora]}", "olora], data.block: 3}").replace("fresh_seeds: [1]", "fresh_seeds: [1], finalists: 3"),
        "{path}: study.grids.0.data.block: study.tuning sets it for each run: leave it out",
    ),
    "a margin of nothing": (
        GOOD + "margin: {score: 0}\n",
        "{path}: study.margin.score=0 is not allowed: input should be greater than 0",
    ),
    "a margin below nothing": (
        GOOD + "margin: {loss: -0.01}\n",
        "{path}: study.margin.loss=-0.01 is not allowed: input should be greater than 0",
    ),
    "a margin that every score is inside": (
        GOOD + "margin: {score: 100}\n",
        "{path}: study.margin.score=100 is not allowed: input should be less than 100",
    ),
    "a margin without end": (
        GOOD + "margin: {loss: .inf}\n",
        "{path}: study.margin.loss=inf is not allowed: input should be a finite number",
    ),
    "a margin in words": (
        GOOD + "margin: {score: small}\n",
        "{path}: study.margin.score='small' is not allowed: a number is",
    ),
    "a margin that is a flag": (
        GOOD + "margin: {score: true}\n",
        "{path}: study.margin.score=True is not allowed: a number is",
    ),
    "a margin of neither measure": (
        GOOD + "margin: {}\n",
        "{path}: study.margin={{}} declares none: give score (percentage points), loss (nats per token) or both, as "
        "{{score: 1.0, loss: 0.01}}, or leave study.margin out",
    ),
    "a margin without its measure": (
        GOOD + "margin: 1.0\n",
        "{path}: study.margin=1.0 declares none: give score (percentage points), loss (nats per token) or both, as "
        "{{score: 1.0, loss: 0.01}}, or leave study.margin out",
    ),
    "a margin of another measure": (
        GOOD + "margin: {points: 1.0}\n",
        "{path}: study.margin.points: there is no such key. Check its spelling. Keys of study.margin: score, loss",
    ),
    "two inits of one name": (
        GOOD.replace("[0, 1]}]", "[0]}, {init: lora, init.options.init_lora_weights: pissa_niter_4, seed: 2}]"),
        "{path}: two different inits are both called lora (init.options.init_lora_weights: True -> 'pissa_niter_4'): "
        "give each a name of its own",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_message(study: MakeStudy, tmp_path: Path, case: str) -> None:
    node, expected = CASES[case]
    with pytest.raises(BadInput) as error:
        study(node).grids()
    path = tmp_path / "sweeps" / "throwaway.yaml"
    assert str(error.value) == expected.format(
        path=path, inits=allowed_options("init", options("init")), keys=", ".join(Study.model_fields)
    )


@pytest.mark.parametrize("name", ["runs", "base", "published"])
def test_a_study_named_like_a_reserved_folder(study: MakeStudy, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput) as error:
        study(GOOD, name=name)
    assert str(error.value) == (
        f"{tmp_path}/sweeps/{name}.yaml: study.name={name} is a reserved folder of results/ (runs, base, published): choose another name"
    )


def test_two_grids_giving_the_same_run_are_merged_and_said(study: MakeStudy, tmp_path: Path) -> None:
    opened = study(GOOD.replace("seed: [0, 1]}]", "seed: [0, 1]}, {init: lora, seed: [1, 2]}]"))
    grids = opened.grids()
    assert (len(grids.jobs), grids.merged) == (5, 1)
    text = plan_text(str(opened.file.path), [f"machine.results_dir={tmp_path / 'results'}"])
    assert "runs          5 (1 more combinations name a run twice and were merged)" in text


def test_an_override_of_what_the_grids_set_is_refused(study: MakeStudy, tmp_path: Path) -> None:
    """It would be ignored otherwise: the grids decide."""
    path = tmp_path / "sweeps" / "throwaway.yaml"
    with pytest.raises(BadInput) as error:
        study(GOOD, "seed=3")
    assert str(error.value) == f"seed=3: study.grids of {path} sets seed for each run. Change it there, or in a copy of the file"
    with pytest.raises(BadInput) as error:
        study(TUNING, "lr=1e-3")
    assert str(error.value) == f"lr=1e-3: study.tuning of {path} sets lr for each run. Change it there, or in a copy of the file"
    with pytest.raises(BadInput) as error:
        study(GOOD, "finalists=[1e-3]")
    assert str(error.value) == (
        f"finalists=[1e-3]: study.tuning of {path} sets finalists for each run. Change it there, or in a copy of the file"
    )


def test_finalists_of_one_run_are_no_finalists_of_a_study(study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        study(GOOD, more="finalists: [1.0e-3]\n")
    assert str(error.value) == (
        f"{tmp_path}/sweeps/throwaway.yaml: finalists=[0.001] is one run's: in a study study.tuning.finalists says how many there are"
    )


def test_a_first_look_without_a_verdict_is_said(study: MakeStudy, tmp_path: Path) -> None:
    opened = study(GOOD.replace(", seed: [0, 1]", "") + "seeds: {looks: [2, 12]}\n")
    text = plan_text(str(opened.file.path), [f"machine.results_dir={tmp_path / 'results'}"])
    assert "too few       2 blocks (model, seed) at the first look: a verdict takes 6\n" in text


def test_a_live_lease_on_this_host(study: MakeStudy) -> None:
    """The message of a run that another process of this machine works on."""
    opened = study(GOOD)
    folder = opened.store.run_dir(opened.grids().jobs[0].what.train_id)
    with lease(folder), pytest.raises(LeaseHeld) as error, lease(folder):
        pass
    holder = error.value.holder
    assert str(error.value) == (
        f"{folder} is being worked on by process {os.getpid()} on {socket.gethostname()} since {holder.since} (last heartbeat 0 s ago). "
        "Wait for it, or stop it and give the same command again: its lease ends with it, or else 60 s after its last heartbeat"
    )


def test_no_such_study_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        find_study(str(tmp_path / "none.yaml"))
    assert str(error.value) == (
        f"{tmp_path / 'none.yaml'}: there is no such file. Give the path of a study file, or the name of a study of sweeps/ without .yaml"
    )


@pytest.mark.parametrize(("place", "given"), [("mine.yaml", "mine.yaml"), ("sweeps/mine.yaml", "mine")])
def test_a_study_that_has_not_run_is_named_as_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, given: str) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / place).write_text(study_text(GOOD, name="other"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as error:
        report(given, [f"machine.results_dir={tmp_path / 'results'}", "alpha=3"])
    assert str(error.value) == (
        f"study other has not been run with alpha=3 in {tmp_path / 'results'}: "
        f"python -m olora_bench.study run {given} machine.results_dir={tmp_path / 'results'} alpha=3"
    )


def test_no_such_study(cli: Cli) -> None:
    done = cli("plan", "nope", module="olora_bench.study")
    assert done.returncode == 2 and done.stderr.startswith("no study 'nope'. Allowed: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "study: {name: x}\n", "rank: 4\n"])
def test_a_study_file_without_a_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "bare.yaml").write_text(text)
    with pytest.raises(BadInput) as error:
        StudyFile(tmp_path / "bare.yaml")
    said = "this config has no model, no data and no other part of a run: begin it with `defaults: [config, _self_]`"
    assert str(error.value) == said
