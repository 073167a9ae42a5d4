"""Time and memory of a command are its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.measured import measured


def test_a_command_is_no_larger_for_a_large_process_that_begins_it() -> None:
    """As a worker of the tests is after an hour."""
    held = b"1" * 400_000_000
    assert 1e6 < measured("platform")["peak_bytes"] < len(held) / 4


def test_what_a_command_held_counts_though_it_fails(tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text("held = b'1' * 200_000_000\ndel held\nraise SystemExit(3)\n", encoding="utf-8")
    assert measured("holds", folder=tmp_path, codes=(3,))["peak_bytes"] > 2e8
    with pytest.raises(SystemExit, match="holds ended with 3"):
        measured("holds", folder=tmp_path)
