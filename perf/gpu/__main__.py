"""Check everything that only a GPU can show: `make gpu-check`, or `python3 -m perf.gpu --wheels DIR` on a bare machine without a network.

A step runs in a process of its own, under a time limit of its own; when one fails the next goes on. After each the file of `--out` has its
facts. What is measured is on one GPU; steps that need one are skipped on a processor, where `--device cpu --tiny` runs all the rest.
Ends with 1 when a step failed, or something that it holds to does not hold.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

from perf.gpu import Asked, Skipped

STEPS = {
    "health": ("speed", 40), "syncs": ("exact", 60), "architectures": ("exact", 90), "tries": ("exact", 90), "restore": ("exact", 60),
    "resume": ("exact", 60), "out_of_memory": ("exact", 60), "olora": ("speed", 60), "train_1b": ("speed", 90), "score_1b": ("speed", 60),
    "host_1b": ("host", 60), "train_7b": ("speed", 120), "score_7b": ("speed", 90), "study": ("speed", 540),
}  # fmt: skip
"""Name -> module of `perf.gpu` that has it, and the seconds that it may take."""


def outcome(name: str, asked: Asked) -> dict[str, Any]:
    """What a step found: `held` and its facts; why it was skipped; or the traceback of its failure."""
    began = time.perf_counter()
    try:
        step = getattr(importlib.import_module(f"perf.gpu.{STEPS[name][0]}"), name)
        found = {"held": True, **step(asked)}
    except Skipped as reason:
        found = {"held": True, "skipped": str(reason)}
    except BaseException:
        found = {"held": False, "error": traceback.format_exc().replace(f"{Path(__file__).parents[2]}/", "")}
    return found | {"seconds": time.perf_counter() - began}


def _apart(name: str, asked: Asked, file: Path) -> None:
    file.write_text(json.dumps(outcome(name, asked), default=str))


def start_method() -> str:
    """How processes are made: by a fork, which has the packages already, unless one of them has asked CUDA for its devices while it was
    imported; no fork can use CUDA after that."""
    import torch

    pid = os.fork()
    if pid == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return "spawn" if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) else "fork"


def run(name: str, asked: Asked, how: str = "fork") -> dict[str, Any]:
    """`outcome` in a process of its own, made as `start_method` says, which is ended when its time is over."""
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        file = Path(folder) / "found.json"
        process: Any = multiprocessing.get_context(how).Process(target=_apart, args=(name, asked, file))
        process.start()
        process.join(asked.seconds)
        if process.is_alive():
            process.terminate()
            process.join(5)
            process.kill()
            process.join()
            return {"held": False, "error": f"it took more than {asked.seconds:.0f} s", "seconds": asked.seconds}
        if not file.exists():
            return {"held": False, "error": f"its process ended with {process.exitcode} and found nothing", "seconds": 0.0}
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def unpacked(wheels: Path, into: Path) -> Path:
    """A folder of packages from a folder of wheels, for the end of `sys.path`: what the machine has goes before."""
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
    return into


def main() -> int:
    """A line a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: the same steps in a minute on a processor")
    parser.add_argument("--steps", default=",".join(STEPS), help="in this order")
    parser.add_argument("--minutes", type=float, default=9.0, help="all of it; what is left of them goes to `study`, which comes last")
    parser.add_argument("--wheels", type=Path, default=None, help="a folder of wheels that the machine lacks (`make gpu-wheels`)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "gpu_check.json")
    options = parser.parse_args()
    names = options.steps.split(",")
    if unknown := sorted(set(names) - STEPS.keys()):
        parser.error(f"--steps: {', '.join(unknown)} is unknown. Allowed: {', '.join(STEPS)}")
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        if options.wheels is not None:
            sys.path.append(str(unpacked(options.wheels, Path(folder) / "packages")))
        _one_gpu(options.device)
        for module in ("exact", "speed", "host"):
            importlib.import_module(f"perf.gpu.{module}")
        steps = _all(names, options, Path(folder), end)
    print(f"wrote {options.out}")
    return int(not all(step["held"] for step in steps.values()))


def _one_gpu(device: str) -> None:
    """What is compared runs on one GPU: transformers' Trainer would take all that it sees."""
    from olora_bench.process.hardware import visible_gpus

    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # whether there is a GPU is then asked without CUDA, which forks forbid
    if device == "cuda" and len(gpus := visible_gpus()) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]


def _all(names: list[str], options: argparse.Namespace, folder: Path, end: float) -> dict[str, Any]:
    from olora_bench.process.provenance import provenance

    facts = provenance(device=options.device, token_budget={}, threads=None, assets=[])
    steps: dict[str, Any] = {}
    how = start_method()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        left = end - time.monotonic()
        if left < 5:
            steps[name] = {"held": True, "skipped": "no time is left", "seconds": 0.0}
        else:
            steps[name] = run(name, Asked(options.device, options.tiny, folder, min(left, STEPS[name][1])), how)
        options.out.write_text(json.dumps({"provenance": facts, "tiny": options.tiny, "steps": steps}, indent=1) + "\n")
        print(line(name, steps[name]), flush=True)
    return steps


def line(name: str, found: dict[str, Any]) -> str:
    """A step in one line."""
    told = (found.get("skipped") and f"skipped: {found['skipped']}") or found.get("error", "").strip().splitlines()[-1:] or ""
    state = "held" if found["held"] else "NOT HELD"
    return f"{name:14} {found['seconds']:6.1f} s  {state}  {told if isinstance(told, str) else told[0]}"


if __name__ == "__main__":
    sys.exit(main())
