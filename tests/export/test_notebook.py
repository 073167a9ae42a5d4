"""The notebook of OLoRA's four uses runs, and is committed as it ran."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "olora.ipynb"
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (the extra olora-bench[dev])")


def test_committed_with_its_outputs() -> None:
    """Every code cell has run in order without an error, and no path of a machine is in it."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert not re.search(r"/(?:home|root|tmp|Users)/|site-packages", NOTEBOOK.read_text())


@pytest.mark.slow
def test_runs() -> None:
    """Executed anew, its own assertions hold."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (the extra olora-bench[dev])")
    for extra in ("trl", "bitsandbytes", "ipykernel"):
        pytest.importorskip(extra, reason=f"{extra} is not installed (the extra olora-bench[dev])")
    nbclient.NotebookClient(nbformat.read(NOTEBOOK, as_version=4), timeout=300, kernel_name="python3").execute()
