"""gc: what every study needs stays, what was run by hand goes only when asked for, and nothing is removed through a link."""

from __future__ import annotations

from pathlib import Path

import pytest
from planting import MakeStudy, PlantRun, SweepStudy

from olora_bench.errors import BadInput, RecordError
from olora_bench.store import lease
from olora_bench.study.__main__ import main
from olora_bench.study.garbage import gc_lines, unneeded
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home
from olora_bench.study.open import OpenStudy, open_study
from olora_bench.study.report import analysed

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: [0, 1]}]
"""


def gc(root: Path, *, remove: bool = False, by_hand: bool = False) -> str:
    return "\n".join(gc_lines(root, remove=remove, by_hand=by_hand))


def there(opened: OpenStudy) -> set[str]:
    return {path.name for path in (opened.store.root / "runs").iterdir()}


def test_runs_of_one_study_under_several_overrides_are_all_needed(study: MakeStudy, sweep: SweepStudy) -> None:
    """Each has a manifest of its own, and its own report; running one takes nothing from another."""
    opened = [study(NODE, *more) for more in ([], ["alpha=3"], ["recipe.steps=7", "alpha=3"], ["alpha=3", "recipe.steps=7"])]
    for one in opened:
        sweep(one, lambda experiment: 1.5)
    assert len(there(opened[0])) == 12
    assert gc(opened[0].store.root, remove=True, by_hand=True).endswith("every run and evaluation is needed by a study that ran there")
    for one in opened:
        manifest = read_manifest(one.home)
        assert manifest is not None and [run.train_id for run in manifest.runs] == [job.what.train_id for job in one.grids().jobs]
    assert len({analysed(one.home, one.file.path).folder for one in opened}) == 3


def test_the_report_of_other_overrides_than_were_run_is_refused(study: MakeStudy, sweep: SweepStudy) -> None:
    opened = study(NODE, "alpha=3")
    sweep(opened, lambda experiment: 1.5)
    root = opened.store.root
    with pytest.raises(BadInput) as error:
        analysed(Home(root, opened.name), opened.file.path)
    assert str(error.value) == (f"study throwaway has not been run in {root}. It has been run there with alpha=3: give the same overrides")


def test_a_precision_settled_under_overrides_is_not_the_studys(study: MakeStudy, sweep: SweepStudy) -> None:
    sweep(study(NODE, "precision=bf16"), lambda experiment: 1.5)
    assert study(NODE).file.composer.precision is None and study(NODE, "precision=bf16").file.composer.precision == "bf16"


def test_what_was_run_by_hand_goes_only_when_asked_for(
    study: MakeStudy, sweep: SweepStudy, plant_run: PlantRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """--remove takes the folder without a record; a live worker's run stays even with --by-hand."""
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5)
    own = there(opened)
    other, busy = study(NODE.replace("[0, 1]", "[7]"), name="other").grids().jobs
    plant_run(other.what, 1.5)
    plant_run(busy.what, 1.5)
    root = opened.store.root
    (root / "runs" / ("0" * 16)).mkdir()
    by_hand = f"  {root}/runs/{other.what.train_id}: tiny_tinyllama {other.experiment.arm} r4 lr 3e-4 seed 7, done, "
    with lease(root / "runs" / busy.what.train_id):
        assert {one.folder.name for one in unneeded(root)} == {other.what.train_id, "0" * 16}
        listed = gc(root).splitlines()
        assert listed[0] == "left over, without a record (removed by --remove): 1 folders, 0 B"
        assert listed[2].startswith("run by hand, or for a study file that has changed since (removed by --remove --by-hand): 1 folders, ")
        assert listed[3].startswith(by_hand) and listed[-1].startswith("nothing was removed")
        assert there(opened) == own | {other.what.train_id, busy.what.train_id, "0" * 16}
        assert gc(root, remove=True).splitlines()[-1] == "removed 1 folders; 1 run by hand are kept"
        assert there(opened) == own | {other.what.train_id, busy.what.train_id}
        gc(root, remove=True, by_hand=True)
    assert there(opened) == own | {busy.what.train_id}
    with pytest.raises(SystemExit) as left:
        main(["gc", "--by-hand", f"machine.results_dir={root}"])
    assert left.value.code == 2 and "give both, or neither" in capsys.readouterr().err


def test_the_list_is_said_before_anything_goes(study: MakeStudy, sweep: SweepStudy) -> None:
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5)
    left = opened.store.root / "runs" / ("0" * 16)
    left.mkdir()
    lines = gc_lines(opened.store.root, remove=True)
    assert str(left) in next(lines) + next(lines) and left.exists()
    assert "removed 1 folders" in list(lines)[-1] and not left.exists()


def test_nothing_is_removed_through_a_link(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5)
    outside = tmp_path / "outside"
    for name in ("a", "b"):
        (outside / (name * 16)).mkdir(parents=True)
        (outside / (name * 16) / "precious").touch()
    runs = opened.store.root / "runs"
    (runs / ("a" * 16)).symlink_to(outside / ("a" * 16))
    (runs / ("b" * 16)).mkdir()
    (runs / ("b" * 16) / "evals").symlink_to(outside / ("b" * 16))
    (opened.store.root / "base").symlink_to(outside)
    gc(opened.store.root, remove=True, by_hand=True)
    assert sorted(path.name for path in outside.rglob("precious")) == ["precious"] * 2


def test_nothing_is_called_unneeded_while_a_manifest_cannot_be_read(study: MakeStudy, sweep: SweepStudy) -> None:
    opened = study(NODE, "alpha=3")
    sweep(opened, lambda experiment: 1.5)
    next((opened.store.root / "throwaway" / "overridden").glob("*/manifest.json")).write_text("{")
    with pytest.raises(RecordError, match=r"manifest\.json"):
        gc(opened.store.root, remove=True)


def copied(opened: OpenStudy, tmp_path: Path, change: tuple[str, str], name: str = "copy.yaml") -> Path:
    """A copy of a study's file, with its name, that says something else."""
    path = tmp_path / "sweeps" / name
    path.write_text(opened.file.path.read_text().replace(*change))
    return path


def test_another_declaration_under_a_taken_name_is_refused_with_both_files(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5)
    path, root = copied(opened, tmp_path, ("[0, 1]", "[0]")), opened.store.root
    with pytest.raises(BadInput) as error:
        open_study(path, opened.file.overrides)
    assert str(error.value) == (
        f"{path}: study.name=throwaway is taken in {root}: ../sweeps/throwaway.yaml ran there under it and declares something else. Give "
        f"one of the two another study.name; or, if this file is to replace that one, move {root}/throwaway/manifest.json away"
    )


def test_a_copy_that_declares_the_same_and_a_file_that_changes_are_not_refused(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5)
    open_study(copied(opened, tmp_path, ("title: a study", "title: another")), opened.file.overrides)
    sweep(study(NODE.replace("[0, 1]", "[0, 1, 2]")), lambda experiment: 1.5)


def test_a_manifest_names_no_folder_of_the_machine(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    """A file far from the results is named by its folder's name and its own."""
    opened = study(NODE, f"machine.results_dir={tmp_path}/far/off/results")
    sweep(opened, lambda experiment: 1.5)
    manifest = read_manifest(opened.home)
    assert manifest is not None and manifest.file == "sweeps/throwaway.yaml"
    with pytest.raises(BadInput, match=r"copy\.yaml: study\.name=throwaway is taken in .*: sweeps/throwaway\.yaml ran there"):
        open_study(copied(opened, tmp_path, ("[0, 1]", "[0]")), opened.file.overrides)
