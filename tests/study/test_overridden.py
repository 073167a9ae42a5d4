"""A study run with overrides is another one than its file declares, and its report says so."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from planting import MakeStudy, SweepStudy

from olora_bench.analysis import analyse, load_study
from olora_bench.study.manifest import read_manifest
from olora_bench.study.remake import remake
from olora_bench.words.caveats import worded

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: [0, 1]}]
"""


@pytest.mark.parametrize("overrides", [["recipe.steps=7", "alpha=3"], []])
def test_the_report_and_the_commands_that_make_it_again_name_overrides(study: MakeStudy, sweep: SweepStudy, overrides: list[str]) -> None:
    """Where results lie and who tracks them is no such override; the commands given make the same runs."""
    opened = study(NODE, "tracker=none", *overrides)
    sweep(opened, lambda experiment: 1.0 + experiment.seed)
    manifest = read_manifest(opened.home)
    assert manifest is not None and list(manifest.overrides or ()) == overrides
    frames = load_study(opened.store, manifest)
    told = analyse(frames, np.random.default_rng(0))["warnings"]["caveat"]
    said = [line for line in map(worded, told) if "overrides" in line]
    remade = [shlex.split(one, comments=True) for one in remake("throwaway", opened.file.path, opened.store.root, frames.overrides)]
    if overrides:
        assert said == ["run with overrides (recipe.steps=7 alpha=3): these are not the runs that the study file declares"]
    else:
        assert said == []
    where = f"machine.results_dir={opened.store.root}"
    assert remade[1] == ["python", "-m", "olora_bench.study", "run", str(opened.file.path), *overrides, where]
