"""Processor seconds and peak memory of a command that is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Container
from pathlib import Path

ROOT = Path(__file__).parents[1]
# VmHWM begins anew with a program; getrusage's ru_maxrss goes on from the process that began it (getrusage(2), proc_pid_status(5)).
_WATCHED = """
import runpy, sys
from pathlib import Path
peak, *sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    Path(peak).write_text(next(line.split()[1] for line in lines if line.startswith("VmHWM:")), encoding="ascii")
"""


def measured(module: str, *words: str, folder: Path = ROOT, codes: Container[int] = (0, 1)) -> dict[str, float]:
    """`python -m module words` in a folder, with one thread: `cpu_seconds`, and `peak_bytes` of its own resident memory. Linux only.

    Raises:
        SystemExit: its exit code is not among `codes`.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.NamedTemporaryFile("r", encoding="ascii") as peak:
        command = [sys.executable, "-c", _WATCHED, peak.name, module, *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder, env=environment) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            raise SystemExit(f"{' '.join((module, *words))} ended with {process.returncode}")
        return {"cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1), "peak_bytes": 1024 * int(peak.read())}
