"""The machine's faults are not the run's: nothing is recorded as failed, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from olora_bench import training
from olora_bench.config import Experiment, compose, load
from olora_bench.errors import BadInput, MachineFault, RunFailed, StoreError
from olora_bench.process.machine_faults import check_machine, machine_fault
from olora_bench.run.experiment import identified, run
from olora_bench.store import Store

TINY = [
    "model=tiny_tinyllama", "rank=4", "lr=1e-3", "precision=fp32", "data=made_up", "suite=none", "tracker=none", "recipe.steps=2",
    "recipe.loss_evaluations=1", "data.train_size=16", "data.benchmarks=[piqa]", "data.decontaminate=[]", "data.tune_size=4",
    "data.report_size=4", "recipe.batch_size=2",
]  # fmt: skip


@pytest.fixture
def experiment(machine: list[str]) -> Experiment:
    return load(compose([*TINY, *machine]))


def state(experiment: Experiment) -> str:
    return Store(experiment.machine.results_dir).state(identified(experiment)[0].train_id)


def caused(error: BaseException) -> BadInput:
    try:
        raise BadInput("folder cannot be loaded") from error
    except BadInput as found:
        return found


FAULTS = {
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "unreadable disk": OSError(errno.EIO, "Input/output error"),
    "read-only": OSError(errno.EROFS, "Read-only file system"),
    "no handles": OSError(errno.EMFILE, "Too many open files"),
    "no memory for a process": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "no memory": MemoryError(),
    "torch on a CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
    ),
    "torch on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "a build without CUDA": AssertionError("Torch not compiled with CUDA enabled"),
    "no such GPU": RuntimeError("CUDA error: invalid device ordinal"),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "a code in words": Exception("File too large (os error 27)"),
    "no thread": RuntimeError("can't start new thread"),
    "no temporary folder": FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']"),
    "below another": caused(OSError(errno.EIO, "Input/output error")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_machine_is_known(name: str) -> None:
    found = machine_fault(FAULTS[name])
    assert (
        found is not None
        and str(found).startswith("this machine could not go on: ")
        and str(found).endswith(", then give the same command again")
    )


OWN = [
    ValueError("shape"), FloatingPointError("nan"), FileNotFoundError(errno.ENOENT, "x"), KeyError("x"), caused(ValueError("vocabulary")),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
]  # fmt: skip


@pytest.mark.parametrize("error", OWN, ids=repr)
def test_a_fault_of_the_run_is_not_the_machines(error: Exception) -> None:
    assert machine_fault(error) is None


@pytest.mark.parametrize("name", ["full disk", "below another"])
def test_the_run_stays_resumable(experiment: Experiment, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No failed record, no lease; with room again the same command ends it."""

    def broken(*_: object, **__: object) -> None:
        raise FAULTS[name]

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", broken)
        with pytest.raises(MachineFault, match="Nothing is held against the run"):
            run(experiment)
    assert state(experiment) == "interrupted"
    assert run(experiment).status == "done"


def test_a_cache_disk_that_is_full(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have 64 KiB: the record fits, and the model that is built into the cache does not."""
    here = experiment.model_copy(update={"machine": experiment.machine.model_copy(update={"cache_dir": tmp_path / "cache"}), "seed": 1})
    monkeypatch.setattr("olora_bench.run.worker._BASES", {})  # else the model is in memory already
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(StoreError, match="give the same command again"):
            run(here)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert state(here) == "planned", "a full cache stops it at the door"
    assert run(here).status == "done"


def test_threads_without_sense_are_refused(experiment: Experiment) -> None:
    with pytest.raises(BadInput) as error:
        run(experiment.model_copy(update={"machine": experiment.machine.model_copy(update={"threads": 100_000})}))
    assert str(error.value) == (
        f"machine.threads=100000 is more than this machine can use: it has {os.cpu_count()} cores. "
        f"Allowed: 1 to {max(128, 4 * (os.cpu_count() or 1))}, or null, which leaves it to torch"
    )
    assert state(experiment) == "planned"


def test_no_room_for_what_a_run_keeps_is_said_before_it(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(
        StoreError, match=r"results: 1.0 kB are free there, and a run keeps up to .* MB \(adapter and checkpoint\)\. Free space"
    ):
        check_machine(experiment)


def test_a_cache_that_cannot_be_made_is_said_before_the_run(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineFault, match=r"NotADirectoryError: .*machine\.cache_dir"):
        run(experiment.model_copy(update={"machine": experiment.machine.model_copy(update={"cache_dir": tmp_path / "file" / "cache"})}))
    assert state(experiment) == "planned"


@pytest.mark.parametrize("kind", ["file", "circle"])
def test_a_folder_that_wandb_cannot_use_stops_nothing(experiment: Experiment, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "wandb"
    folder.touch() if kind == "file" else folder.symlink_to(folder)
    tracker = experiment.tracker.model_copy(update={"name": "wandb", "mode": "offline"})
    assert run(experiment.model_copy(update={"tracker": tracker})).status == "done"


def test_what_is_not_the_machines_is_still_recorded_as_failed(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: 1 / 0)
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        run(experiment)
    assert state(experiment) == "failed"
