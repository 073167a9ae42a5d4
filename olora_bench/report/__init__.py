"""Frames as text that people read. Imports no torch."""

from olora_bench.report.render import markdown_table
from olora_bench.report.tables import VIEWS, printed_tables, table_files
from olora_bench.report.text import study_report

__all__ = ["VIEWS", "markdown_table", "printed_tables", "study_report", "table_files"]
