"""Streams of a process: narrow encodings, readers that leave, descriptors that are closed, disks that are full."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from olora_bench.process.progress import Progress, label, say

PREPARED = "import sys\nfrom olora_bench.process import terminal\nterminal.prepare()\nterminal.prepare()\n"


def ran(script: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", PREPARED + script], check=False, timeout=60, **more)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    text = "1–2 é \udce9"
    done = ran(f"print({text!r}); print({text!r}, file=sys.stderr)", capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    wanted = text.encode(encoding, "backslashreplace") + b"\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted, wanted)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_leaves_stops_nothing(name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = ran(f"for _ in range(3): print('x' * 9000, file=sys.{name}, flush=True)\nsys.exit(7)", **{name: write})
    os.close(write)
    assert done.returncode == 7


def test_closed_streams_lead_nowhere_and_no_file_gets_their_number(tmp_path: Path) -> None:
    script = f"f = open({str(tmp_path / 'kept')!r}, 'w')\nprint('lost'); print('lost', file=sys.stderr); f.write('kept')"
    command = 'exec "$0" -c "$1" >&- 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable, PREPARED + script], check=False, timeout=60)
    assert done.returncode == 0 and (tmp_path / "kept").read_text() == "kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_loses_messages_but_no_result_goes_missing_unsaid() -> None:
    with Path("/dev/full").open("wb") as full:
        assert ran("print('x', file=sys.stderr)", stderr=full).returncode == 0
        assert ran("print('x', flush=True)", stdout=full, stderr=subprocess.DEVNULL).returncode != 0


def test_saying_something_never_raises(tmp_path: Path) -> None:
    """In a library's use too, where nobody has prepared the streams."""
    closed = (tmp_path / "log").open("w")
    closed.close()
    narrow = (tmp_path / "narrow").open("w", encoding="ascii")
    for stream in (closed, narrow):
        say("a – b", stream=stream)
        with Progress("–", 1, stream=stream) as progress:
            progress.advance()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_under_way_has_one_line_of_a_terminal_and_its_end_another() -> None:
    stream = _Terminal()
    with label("run 1 of 2"), Progress("train", 3, unit="steps", stream=stream, every_s=0) as progress:
        progress.advance(1, "loss 2.5")
        progress.advance(1, "loss 2.4")
        progress.advance(1, "loss 2.3")
    shown = re.sub(r"[\d.]+s", "?s", stream.getvalue())
    assert shown == (
        "\r\x1b[K[run 1 of 2] train: 1 of 3 steps, ?s left, loss 2.5\r\x1b[K[run 1 of 2] train: 2 of 3 steps, ?s left, loss 2.4"
        "\r\x1b[K[run 1 of 2] train: 3 steps in ?s, loss 2.3\n"
    )


def test_a_log_file_keeps_every_line() -> None:
    stream = io.StringIO()
    with Progress("train", 2, unit="steps", stream=stream, every_s=0) as progress:
        progress.advance()
        progress.advance()
    assert re.sub(r"[\d.]+s", "?s", stream.getvalue()) == "train: 1 of 2 steps, ?s left\ntrain: 2 steps in ?s\n"
