"""Frames as text that people read. Imports no torch."""

from olora_bench.report.text import markdown_table, study_report

__all__ = ["markdown_table", "study_report"]
