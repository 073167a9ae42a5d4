"""The notebooks of figures, anatomy and new inits run anywhere, and are committed as they ran."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("paper_figures", "olora_anatomy", "add_your_init")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (the extra olora-bench[dev])")


def shown(notebook: Any) -> Iterator[str]:
    """Tables and captions of a notebook's outputs; pictures are compared nowhere, since their bytes are a font's and a library's too."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield from (text for kind, text in output.get("data", {}).items() if kind in ("text/html", "text/markdown"))


@pytest.mark.parametrize("name", NAMES)
def test_committed_with_its_outputs(name: str) -> None:
    """Every code cell has run in order without an error, no path of a machine is in it, and it stays small."""
    path = NOTEBOOKS / f"{name}.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert not re.search(r"/(?:home|root|tmp|Users)/|site-packages", path.read_text())
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize(
    "name", ["paper_figures", pytest.param("olora_anatomy", marks=pytest.mark.slow), pytest.param("add_your_init", marks=pytest.mark.slow)]
)
def test_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed anew, with no model in the cache, its own assertions hold."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (the extra olora-bench[dev])")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (the extra olora-bench[dev])")
    monkeypatch.setenv("OLORA_BENCH_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    if name == "paper_figures":
        committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        assert list(shown(notebook)) == list(shown(committed)), "what is committed is older than the records: execute it anew"
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    if name == "olora_anatomy":
        assert said.startswith("tiny_llama2_7b"), "the twin stands in"
