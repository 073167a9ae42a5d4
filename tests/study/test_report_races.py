"""Two reports of one study at once: what lies there afterwards is one of them, whole."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from planting import MakeStudy, SweepStudy

from olora_bench.study import report as report_module
from olora_bench.study.fresh import standing_report
from tests.study_text import TWO_ARMS


def test_two_reports_at_once_are_written_one_after_the_other(study: MakeStudy, sweep: SweepStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = study(TWO_ARMS, "tracker=none")
    sweep(opened, lambda experiment: 1.0)
    written: list[int] = []
    write, both = report_module._write, threading.Barrier(2)
    analyse = report_module.study_report

    def told(*args: object) -> str:
        text = analyse(*args)  # type: ignore[arg-type]
        both.wait(120)  # both have read before either writes
        return f"{text}\n{threading.get_ident()}"

    def slow(folder: object, files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
        written.append(threading.get_ident())
        return write(folder, files)  # type: ignore[arg-type]

    monkeypatch.setattr(report_module, "study_report", told)
    monkeypatch.setattr(report_module, "_write", slow)
    arguments = (str(opened.file.path), opened.file.overrides)
    threads = [threading.Thread(target=report_module.report, args=arguments) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert written == sorted(written, key=written.index)
    assert len(written) == 6 and len(set(written)) == 2
    standing = standing_report(opened.home, opened.file.path)
    assert standing is not None and standing[0].endswith(f"\n{written[-1]}")
