"""`python -m olora_bench.report`: what the tables of a report hold, as a page of Markdown."""

from __future__ import annotations

from olora_bench.report.tables import TABLES, VIEWS
from olora_bench.words.tables import column_page

if __name__ == "__main__":
    print(column_page(TABLES, VIEWS.values()), end="")
