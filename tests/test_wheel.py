"""The wheel carries configs and studies, and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import olora_bench

ROOT = Path(olora_bench.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own, as pip would lay it into site-packages."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("needs the checkout: there is no pyproject.toml beside the package")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-P", "-m", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_it_carries_every_config_and_every_study(installed: Path) -> None:
    for folder in ("conf", "sweeps"):
        shipped = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*.yaml")}
        assert shipped == {
            p.relative_to(installed / "olora_bench").as_posix() for p in (installed / "olora_bench" / folder).rglob("*.yaml")
        }


def test_it_composes_its_own_configs(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "olora_bench", "--cfg", "job", "model=tinyllama", "init=olora")
    assert done.returncode == 0, done.stderr
    where = run(installed, tmp_path, "olora_bench", "--info", "searchpath")
    assert str(installed / "olora_bench" / "conf") in where.stdout


def test_it_plans_its_own_studies(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed, tmp_path, "olora_bench.study", "plan", "rehearsal", "--no-calibration", f"machine.results_dir={tmp_path / 'results'}"
    )
    assert done.returncode == 0, done.stderr
    assert "20 missing" in done.stdout


def test_it_carries_what_the_reports_page_is_made_of(installed: Path) -> None:
    shipped = {p.name: p.read_bytes() for p in (ROOT / "olora_bench" / "report" / "assets").iterdir()}
    assert {"page.html", "page.css", "page.js", "run.html"} <= shipped.keys()
    assert shipped == {p.name: p.read_bytes() for p in (installed / "olora_bench" / "report" / "assets").iterdir()}
