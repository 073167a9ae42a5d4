"""Frames as CSV, Markdown and LaTeX tables. The same frame gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis.described import View
from olora_bench.words.numbers import FORMATS
from olora_bench.words.tables import worded, written_name

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a cell begins that a spreadsheet runs."""


def markdown_escape(text: str) -> str:
    """Text in which Markdown finds no HTML.

    >>> markdown_escape("<b>p < 0.05</b>")
    '&lt;b>p &lt; 0.05&lt;/b>'
    """
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    """Text that ends neither its cell nor its row."""
    return re.sub(r"\s*[\r\n]+\s*", " ", markdown_escape(text)).replace("|", r"\|")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table, its cells escaped; the first column is text, the others are numbers.

    >>> print(markdown_table(["benchmark", "LoRA"], [["piqa", "61.0"]]))
    | benchmark | LoRA |
    |:----------|-----:|
    | piqa      | 61.0 |
    """
    header, rows = [_cell(cell) for cell in header], [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))) + " |"

    rule = "|" + "|".join(f":{'-' * (w + 1)}" if i == 0 else f"{'-' * (w + 1)}:" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A booktabs table, escaped; needs `\\usepackage{booktabs}`.

    >>> print(latex_table(["a_b", "n"], [["50%", "–"]], "c").splitlines()[6])
    50\\% & -- \\\\
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(latex_escape(cell) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(header) - 1)
    top = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(header), r"\midrule"]
    end = [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex_escape(caption)}}}", r"\end{table}"]
    return "\n".join([*top, *map(line, rows), *end]) + "\n"


def latex_escape(text: str) -> str:
    """Text as LaTeX shows it literally.

    >>> latex_escape("lr_ratio −5%, −∞")
    'lr\\\\_ratio $-$5\\\\%, $-$$\\\\infty$'
    """
    known = {
        "\\": r"\textbackslash{}",
        "–": "--",
        "−": "$-$",
        "∞": r"$\infty$",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
    }
    return re.sub(r"[\\&%$#_{}~^<>–−∞]", lambda m: known.get(m[0], "\\" + m[0]), text)


def strings(view: View, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table as it is printed; a column that the frame lacks is left out."""
    columns = [column for column in view.columns if column.name in frame]
    rows = [[FORMATS[column.form](row[written_name(column.name)]) for column in columns] for row in worded(frame).to_dict("records")]
    return [column.heading for column in columns], rows


def spreadsheet_safe(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula, behind an apostrophe, with newlines that readers take for the same; numbers, and
    all else, as they are.

    >>> [spreadsheet_safe(value) for value in ("=1+1", "-0.5", "@a", -2.0, "a-b")]
    ["'=1+1", '-0.5', "'@a", -2.0, 'a-b']
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if not value.startswith(FORMULA):
        return text
    try:
        float(value)
    except ValueError:
        return f"'{text}"
    return text


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as CSV: every column, six significant digits, empty where nothing is known, infinities spelt out, no text a formula.

    Reasons and caveats are worded.
    """
    frame = worded(frame)
    texts = [name for name, dtype in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    safe = frame.assign(**{str(name): frame[name].map(spreadsheet_safe) for name in texts}).rename(columns=spreadsheet_safe)
    return safe.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def write_all(view: View, frame: pd.DataFrame) -> dict[str, bytes]:
    """file name -> content: CSV, Markdown and LaTeX of one table."""
    name, (header, rows) = view.name, strings(view, frame)
    runs = f" The runs behind each row: column runs of {name}.csv." if "runs" in frame else ""
    caption = view.caption + runs
    markdown = f"{caption}\n\n{markdown_table(header, rows) if rows else 'Nothing to show: no row.'}\n"
    return {f"{name}.csv": csv_bytes(frame), f"{name}.md": markdown.encode(), f"{name}.tex": latex_table(header, rows, caption).encode()}
