"""A study as large as the paper's with ten seeds: how long its tables take."""

from __future__ import annotations

from pathlib import Path

import big_study
import pytest


@pytest.mark.slow
def test_six_hundred_runs_are_read_in_eight_seconds_and_tabled_in_twenty(tmp_path: Path) -> None:
    big_study.make(tmp_path, 600)
    reading, tables = big_study.seconds(tmp_path)
    assert reading < 8 and tables < 20
