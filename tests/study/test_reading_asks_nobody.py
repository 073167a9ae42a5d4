"""`status` and `plan` of a study whose Hub model names no commit: the records name it, and nobody is asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from planting import MakeStudy, PlantRun

from olora_bench.assets import hub
from olora_bench.errors import MissingAssets
from olora_bench.study.__main__ import main
from olora_bench.study.manifest import write_manifest
from olora_bench.study.open import OpenStudy
from olora_bench.study.plan import plan_text
from olora_bench.study.status import status_text
from tests.study_text import TWO_ARMS, study_text

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNPINNED = ("model=tinyllama", "model.hub.revision=null", "assets=[hub]", "data=made_up", "suite=none", "tracker=none")


@pytest.fixture
def unpinned(study: MakeStudy, plant_run: PlantRun, monkeypatch: pytest.MonkeyPatch) -> OpenStudy:
    """A study that ran when the Hub named `COMMIT`; from now on any socket fails, and this machine remembers no head."""
    monkeypatch.setattr(hub, "commit_of", lambda source, kind: COMMIT)
    opened = study(TWO_ARMS, *UNPINNED)
    grids = opened.grids()
    write_manifest(opened.home, grids)
    for job in grids.jobs:
        assets = [{"key": one.key, "source": one.source, "identity": one.identity} for one in job.assets.values()]
        plant_run(job.what, 1.0, provenance={"assets": assets})

    def refuse(*args: object) -> None:
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(hub, "commit_of", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(hub, "last_head", lambda source, kind: None)
    return opened


def test_the_commit_is_that_of_the_records(unpinned: OpenStudy) -> None:
    name, overrides, count = str(unpinned.file.path), unpinned.file.overrides, len(list((unpinned.store.root / "runs").iterdir()))
    assert f"{count} runs: {count} done" in status_text(name, overrides)[0]
    assert f"state         {count} done" in plan_text(name, overrides)


def test_a_commit_that_no_record_names_is_refused_unasked(unpinned: OpenStudy) -> None:
    (unpinned.store.root / unpinned.name).rename(unpinned.store.root / "elsewhere")
    with pytest.raises(MissingAssets, match=r"is unpinned, and no run of this study has settled its commit"):
        status_text(str(unpinned.file.path), unpinned.file.overrides)


@pytest.mark.parametrize("command", ["status", "plan", "report", "figures", "extract"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no/thing", "no/thing is unpinned, and a command that only reads asks the Hub nothing"),
        (f"no/thing@{COMMIT}", f"no/thing@{COMMIT}: config.json not on this machine, and a command that only reads fetches nothing"),
    ],
)
def test_a_model_that_somebody_elses_study_names_is_not_fetched(
    command: str, place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr(socket, "socket", refuse)
    file = tmp_path / "theirs.yaml"
    file.write_text(study_text(TWO_ARMS, name="theirs"))
    with pytest.raises(SystemExit) as ended:
        main([command, str(file), f"model=hub:{place}", f"machine.results_dir={tmp_path / 'results'}"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and said in told, told
