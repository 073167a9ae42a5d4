"""Where a number comes from: harness commit, package versions, hardware. Recorded beside every result, never hashed into its id."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from olora_bench import __version__
from olora_bench.process.allocator import allocator
from olora_bench.process.hardware import describe

PACKAGES = ("torch", "transformers", "peft", "lm-eval", "datasets", "tokenizers", "safetensors", "numpy", "pandas", "hydra-core", "wandb")


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


@cache
def harness() -> dict[str, str | bool | None]:
    """Version, commit and dirty flag of this harness; commit and flag are null for an installed wheel.

    Results written by a run are not changes of the harness, so `results/` does not make it dirty.
    """
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return {"version": __version__, "commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


@cache
def packages() -> dict[str, str]:
    """The installed versions of the packages that make numbers; one that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def provenance(**facts: JsonValue) -> dict[str, JsonValue]:
    """The provenance of a result: harness, packages, hardware, the CUDA that torch was built for, allocator, and what the caller adds
    (threads, assets, token budget)."""
    here: dict[str, JsonValue] = {"harness": {**harness()}, "packages": {**packages()}, "hardware": asdict(describe())}
    return here | {"cuda": _cuda(), "allocator": allocator(), **facts}


def _cuda() -> str | None:
    """The version of CUDA that torch was built for; None where it was built for processors alone, or is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.version.cuda
