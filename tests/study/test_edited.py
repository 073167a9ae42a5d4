"""A study file that is edited while its sweep runs."""

from __future__ import annotations

import re

import pytest
from planting import MakeStudy, Planter, SweepStudy

from olora_bench.config import Experiment
from olora_bench.errors import BadInput
from olora_bench.study import sweep as sweep_module
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import declaration_of
from tests.study_text import TWO_ARMS


def test_no_further_run_is_begun_and_both_declarations_are_named(study: MakeStudy) -> None:
    opened = study(TWO_ARMS, "tracker=none")
    path, before = opened.file.path, declaration_of(opened.file.path)

    def edit(experiment: Experiment) -> float:
        path.write_text(path.read_text().replace("rank: 4", "rank: 8"))
        return 1.0

    planter = Planter(opened, edit)
    with pytest.raises(BadInput) as refused:
        sweep_module.sweep_study(opened, planter, opened.file.overrides)
    assert str(refused.value) == (
        f"{path}: edited while its sweep runs: it declared {before} when that began and declares {declaration_of(path)} now "
        "(digests of all but title and comments). No further run is begun. To run what it declares now, give the same command again; "
        "else undo the edit first"
    )
    assert len(planter.batches) == 1
    manifest = read_manifest(opened.home)
    assert manifest is not None and manifest.declaration == before


def test_title_and_comments_may_be_edited(study: MakeStudy, sweep: SweepStudy) -> None:
    opened = study(TWO_ARMS, "tracker=none")
    path = opened.file.path

    def edit(experiment: Experiment) -> float:
        path.write_text(re.sub("title: .*", "title: another", path.read_text()) + "\n# a remark\n")
        return 1.0

    _, found = sweep(opened, edit)
    assert {one.state for one in found} == {"done"}
