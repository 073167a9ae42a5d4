"""What this machine is, read without torch: enough to choose a precision and to say what numbers were measured on."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from olora_bench.process.preemption import JOBLIBS

DEVICES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/version")

# Processors with matrix or dot-product units for bf16; elsewhere bf16 is emulated and slower than fp32.
_FAST_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})


def has_cuda() -> bool:
    """Whether an NVIDIA device that this process may use is present, whatever its number: a container may have been given another than 0.

    CUDA_VISIBLE_DEVICES as CUDA reads it: from the first entry on that is no device nothing is seen, so an empty or negative first one
    hides all. Whether torch can use the device, only torch can tell (`device.check`).
    """
    return bool(visible_gpus())


def visible_gpus() -> list[str]:
    """The NVIDIA devices that this process may use, as CUDA_VISIBLE_DEVICES would name them."""
    files, named = _device_files(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not files:
        return [str(number) for number in range(len(files))]
    entries = (entry.strip() for entry in named.split(","))
    return list(itertools.takewhile(lambda entry: entry != "" and not entry.startswith("-"), entries))


def keep_one_gpu(device: str) -> None:
    """Leave a process of the launcher `processes` (joblib's) one of several GPUs, by its number, where `machine.device` names none: all
    would else use the first. To be called before CUDA starts; nothing happens in another process."""
    kind, _, number = multiprocessing.current_process().name.partition("-")
    gpus = visible_gpus()
    if device in ("auto", "cuda") and kind == JOBLIBS and number.isdecimal() and len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[(int(number) - 1) % len(gpus)]


def _device_files() -> list[Path]:
    return [path for path in DEVICES.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()]


def _cpu_lines(key: str) -> list[str]:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return []
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key]


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`."""
    return ("cuda" if has_cuda() else "cpu") if device == "auto" else device


def resolve_precision(precision: str, device: str) -> Literal["fp32", "bf16", "fp16"]:
    """`auto` becomes bf16 where the hardware is fast at it, else fp32.

    On CUDA that is compute capability 8.0 and up, which every device of the last six years has.
    """
    if precision != "auto":
        return precision  # type: ignore[return-value]
    if resolve_device(device).startswith("cuda"):
        return "bf16"
    flags = {flag for line in (_cpu_lines("flags") or _cpu_lines("Features"))[:1] for flag in line.split()}
    return "bf16" if flags & _FAST_BF16_FLAGS else "fp32"


def _gpus() -> list[str]:
    """The names of the NVIDIA devices that the driver lists, whether or not this process may use them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]


def _driver() -> str | None:
    """The version of NVIDIA's kernel driver, e.g. 580.159.04; None where there is none."""
    if not DRIVER.is_file():
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", DRIVER.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


@dataclass(frozen=True)
class Hardware:
    """What a record says of the machine: no host name, which says nothing about numbers. `cores` are those this process may use, `driver`
    is NVIDIA's."""

    processor: str
    architecture: str
    cores: int
    gpus: list[str]
    driver: str | None
    memory_bytes: int
    system: str
    python: str


def describe() -> Hardware:
    """This machine."""
    names = _cpu_lines("model name")
    return Hardware(
        processor=names[0] if names else platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=_gpus(),
        driver=_driver(),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.system(),
        python=platform.python_version(),
    )
