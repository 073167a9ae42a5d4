"""A device that torch cannot use is named before work; which GPUs count is read from the machine."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from olora_bench.config import compose, load
from olora_bench.errors import BadInput
from olora_bench.process import device, hardware
from olora_bench.process.provenance import provenance
from olora_bench.run import experiment as road
from olora_bench.store import Store
from olora_bench.study.sweep import prepare

CPU = "machine.device=cpu computes on the processor"


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give this machine the device files named."""

    def put(*names: str) -> None:
        for name in names:
            (tmp_path / name).touch()

    monkeypatch.setattr(hardware, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


@pytest.fixture
def torchs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A torch built for CUDA that sees `count` GPUs, or whose start fails with `error`."""

    def put(count: int = 1, *, error: Exception | None = None, works: Exception | None = None) -> None:
        def begin() -> None:
            if error is not None:
                raise error

        def ones(*_: object, **__: object) -> Any:
            raise works if works is not None else AssertionError("on purpose")

        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(torch, "__version__", "2.13.0")
        monkeypatch.setattr(torch.cuda, "init", begin)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch, "ones", ones)

    return put


@pytest.mark.parametrize(
    ("files", "visible", "found"),
    [
        ((), None, False), (("nvidia0",), None, True), (("nvidia3",), None, True), (("nvidia12",), "0", True),
        (("nvidiactl", "nvidia-uvm", "nvidia-modeset"), None, False), (("nvidia1",), "", False), (("nvidia1",), "-1", False),
        (("nvidia1",), "-1,0", False), (("nvidia1",), "GPU-8932f937", True), (("nvidia1",), "0,-1", True),
    ],
)  # fmt: skip
def test_any_gpu_that_this_process_may_use_counts(
    files: tuple[str, ...], visible: str | None, found: bool, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its number, and as CUDA reads CUDA_VISIBLE_DEVICES; the driver's own files are no GPU."""
    gpus(*files)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.resolve_device("auto") == ("cuda" if found else "cpu")


def refusal(wanted: str) -> str:
    with pytest.raises(BadInput) as caught:
        device.check(wanted)
    return str(caught.value)


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:3"])
def test_a_torch_without_cuda_is_named(wanted: str, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` does not go to the CPU in silence where there is a GPU."""
    gpus("nvidia1")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    asked = f"machine.device={wanted}" + (" finds a GPU and" if wanted == "auto" else "")
    assert refusal(wanted) == (
        f"{asked} cannot be used: torch 2.13.0+cpu is built for processors alone. "
        f"Install torch for CUDA (pytorch.org/get-started/locally); {CPU}"
    )


def test_an_old_driver_is_named(gpus: Callable[..., None], torchs: Callable[..., None]) -> None:
    """torch's own reason, its first line."""
    gpus("nvidia0")
    torchs(0, error=RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update"))
    assert refusal("auto") == (
        "machine.device=auto finds a GPU and cannot be used by torch 2.13.0: The NVIDIA driver on your system is too old "
        f"(found version 11040). Correct the driver or CUDA_VISIBLE_DEVICES; {CPU}"
    )


def test_a_number_that_no_gpu_has_is_named(torchs: Callable[..., None]) -> None:
    """With the devices that there are."""
    torchs(2)
    assert refusal("cuda:3") == "machine.device=cuda:3 does not exist: torch sees cuda:0, cuda:1. Allowed: one of these, cuda, cpu or auto"


def test_a_gpu_that_cannot_compute_is_named(torchs: Callable[..., None]) -> None:
    """Too old for this torch, held by another process, full: seen by computing."""
    torchs(1, works=RuntimeError("CUDA error: no kernel image is available for execution on the device\nhint"))
    assert refusal("cuda") == (
        "machine.device=cuda cannot compute with torch 2.13.0: CUDA error: no kernel image is available for execution on the device. "
        f"Use another GPU, or a torch built for this one; {CPU}"
    )


def test_a_gpu_that_only_torch_sees_is_asked_about(gpus: Callable[..., None], torchs: Callable[..., None]) -> None:
    """Precision and ids were settled for the CPU by then."""
    torchs(1)
    assert refusal("auto") == (
        "machine.device=auto finds no /dev/nvidia*, and torch sees cuda:0. Say which is meant: machine.device=cuda, or machine.device=cpu"
    )
    device.check("cpu")


def test_a_study_that_runs_here_stops_before_its_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not say so of every run; where a cluster's launcher runs it, this machine's device is not asked about."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr("olora_bench.assets.check_all", lambda needs: None)
    monkeypatch.setattr("olora_bench.study.sweep.check_machine", lambda experiment: None)
    study: Any = SimpleNamespace(store=SimpleNamespace(check_writable=lambda: None), file=SimpleNamespace(composer=SimpleNamespace()))
    one = SimpleNamespace(machine=SimpleNamespace(device="cuda:0"), precision="bf16")
    todo: Any = [SimpleNamespace(experiment=one, assets={})]
    prepare(study, todo, here=False)
    with pytest.raises(BadInput, match=r"^machine\.device=cuda:0 cannot be used"):
        prepare(study, todo, here=True)


def test_no_run_is_on_record_where_the_device_cannot_be_used(machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is loaded or written before."""
    monkeypatch.setattr(torch.version, "cuda", None)
    what = load(compose([
        "model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", "precision=fp32", *machine, "machine.device=cuda",
    ]))  # fmt: skip
    with pytest.raises(BadInput, match=r"machine\.device=cuda cannot be used"):
        road.run(what)
    assert list(Store(what.machine.results_dir).iter_runs()) == []


@pytest.mark.parametrize(
    ("process", "visible", "wanted", "left"),
    [
        ("LokyProcess-1", None, "auto", "0"), ("LokyProcess-2", None, "cuda", "1"), ("LokyProcess-3", None, "auto", "0"),
        ("LokyProcess-2", "5,GPU-8932f937,-1,7", "auto", "GPU-8932f937"), ("LokyProcess-2", "6", "auto", "6"),
        ("LokyProcess-2", None, "cuda:1", None), ("LokyProcess-2", None, "cpu", None), ("MainProcess", None, "auto", None),
        ("SpawnPoolWorker-2", None, "auto", None),
    ],
)  # fmt: skip
def test_a_process_of_the_preset_has_one_gpu_for_itself(
    process: str, visible: str | None, wanted: str, left: str | None, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its number among those that are visible; where the config names one, and in every other process, all are left."""
    gpus("nvidia0", "nvidia1", "nvidiactl")
    monkeypatch.setattr(multiprocessing.current_process(), "_name", process)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for _ in range(2):  # each run of the process asks again
        hardware.keep_one_gpu(wanted)
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == left
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version",
            "535.129.03",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root)", "580.159.04"),
        ("something else", None),
        (None, None),
    ],
)
def test_a_record_names_the_driver(text: str | None, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel module says it, in both of its forms; null where there is none."""
    if text is not None:
        (tmp_path / "version").write_text(text)
    monkeypatch.setattr(hardware, "DRIVER", tmp_path / "version")
    assert hardware.describe().driver == version


def test_a_record_names_the_cuda_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert provenance()["cuda"] == "13.0"
    monkeypatch.delitem(sys.modules, "torch")
    assert provenance()["cuda"] is None
