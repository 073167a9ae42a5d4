"""`make figures` on a committed study: the same bytes twice, no torch, no network, nothing but results/ read."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from olora_bench.study.report import figures_text
from tests.figures.conftest import SYNTHETIC

STUDY = str(SYNTHETIC.parent / "planted.yaml")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the committed results."""
    return Path(shutil.copytree(SYNTHETIC, tmp_path / "results"))


def test_twice_gives_the_same_bytes_and_old_figures_go(results: Path) -> None:
    study, root = STUDY, f"machine.results_dir={results}"
    folder = results / "planted" / "report" / "figures"
    text, lacks = figures_text(study, [root])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "of_an_earlier_state.png").write_bytes(b"")
    assert figures_text(study, [root]) == (text, lacks)
    again = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [name for name in first | again if first.get(name) != again.get(name)] == []
    names = {name.split(".")[0] for name in first if name != "captions.md"}
    assert {Path(name).suffix for name in first} == {".pdf", ".svg", ".png", ".md"} and len(first) == 3 * len(names) + 1
    assert "forest_olora_vs_lora_lr1e-3" in names and "left out" in text
    captions = first["captions.md"].decode()
    assert all(f"## {name}\n" in captions for name in names) and "## Left out" in captions
    assert (results / "planted" / "report" / "tables" / "verdicts.csv").is_file()
    assert {Image.open(io.BytesIO(content)).mode for name, content in first.items() if name.endswith(".png")} == {"P"}
    assert not any(str(results.parent).encode() in content for content in first.values()), "no path of this machine"


def test_a_fresh_interpreter_draws_without_torch_or_a_window(results: Path) -> None:
    code = f"""
import sys
import socket
def refuse(*_): raise OSError("no network here")
socket.socket.connect = refuse
from olora_bench.study.__main__ import main
sys.argv = ["study", "figures", {STUDY!r}, {f"machine.results_dir={results}"!r}]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
heavy = [m for m in ("torch", "transformers", "matplotlib.pyplot", "tkinter") if m in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "figures (PDF, SVG, PNG)" in done.stdout


def test_a_study_that_never_ran_is_refused_with_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "olora_bench.study", "figures", STUDY, f"machine.results_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 2
    run = f"python -m olora_bench.study run {STUDY} machine.results_dir={tmp_path}"
    assert done.stderr == f"study planted has not been run in {tmp_path}: {run}\n"
