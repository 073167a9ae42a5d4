"""Processes that hold a lease or race for one, and lease files with changes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from olora_bench.store import lease, sealed

LEASE = importlib.import_module("olora_bench.store.lease")  # the package's `lease` is the function
HOLD = """
import importlib, sys, time
from pathlib import Path
from olora_bench.store import lease
importlib.import_module("olora_bench.store.lease").HEARTBEAT_S = 0.1
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
# Waits for a moment that all racers know, then tries once and holds on until every racer has tried.
RACE = """
import sys, time
from pathlib import Path
from olora_bench.store import LeaseHeld, lease
print("ready", flush=True)
sys.stdin.readline()
try:
    with lease(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.readline()
except LeaseHeld:
    print("lost", flush=True)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """A fresh interpreter that runs `code`; returns once it has said its first line."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def plant(folder: Path, **changes: Any) -> Path:
    """A lease file as this process would have written it, with changes."""
    path = folder / "lease.json"
    with lease(folder):
        fields = json.loads(path.read_text())
    folder.mkdir(parents=True, exist_ok=True)  # an empty one went with its lease
    path.write_bytes(sealed(fields | changes))
    return path


def age(path: Path, seconds: float) -> None:
    """Make a lease's heartbeat older, on its boot's clock and on the file system's."""
    fields = json.loads(path.read_text())
    with path.open("r+b") as file:  # the same file, as its holder knows it
        file.write(sealed(fields | {"beat": fields["beat"] - seconds}))
        file.truncate()
    os.utime(path, (time.time() - seconds, time.time() - seconds))
