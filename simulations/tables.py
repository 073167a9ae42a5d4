"""The tables of docs/statistics.md, from simulations/results/verdict.csv alone. `python -m simulations.tables --write` fills them in.

A table stands in the page between `<!-- table NAME -->` and `<!-- end -->`; tests/test_docs.py holds it to what is made here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from simulations.verdict import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
BLOCK = re.compile(r"(<!-- table (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WROTE = f"`python -m simulations.verdict` wrote `simulations/results/{RESULTS.name}`."

ERRORS = {
    "crossed": "crossed",
    "false_equivalence": "false equivalence",
    "satterthwaite": "Satterthwaite's t",
    "blocks_t": "paired t over blocks",
    "sign_flip": "sign flip over blocks",
}


def errors(found: pd.DataFrame) -> str:
    """A row a kind and size of study: the least and the greatest share of errors among its settings."""
    found = found[found["kind"] != "power"].assign(size=_size)
    head = ["studies", "settings", "block error / item error", *ERRORS.values()]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for size, group in found.groupby("size", sort=False):
        ratio = group["block_se"] / group["item_se"]
        cells = [str(size), str(len(group)), f"{ratio.min():.1f} to {ratio.max():.1f}"]
        cells += [f"{100 * group[name].min():.1f} to {100 * group[name].max():.1f}" for name in ERRORS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Percent of {found['studies'].min():,} studies a setting, {len(found)} settings. {WROTE}"])


def power(found: pd.DataFrame) -> str:
    """A row a setting with a true difference."""
    found = found[found["kind"] == "power"]
    head = [
        "variances",
        "blocks",
        "block error, pp",
        "item error, pp",
        "true difference, pp",
        "called better, %",
        "oracle, %",
        "foretold, %",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for row in found.to_dict("records"):
        cells = [
            row["role"] + (", wider seeds" if row["seed"] else ""),
            str(row["seeds"]),
            f"{row['block_se']:.2f}",
            f"{row['item_se']:.2f}",
        ]
        cells += [f"{row['truth']:g}", *(f"{100 * row[name]:.1f}" for name in ("better", "oracle", "foretold"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{found['studies'].min():,} studies a row. {WROTE}"])


TABLES: dict[str, Callable[[pd.DataFrame], str]] = {"errors": errors, "power": power}
"""Name in the page -> what makes the table."""


def filled(page: str) -> str:
    """A page with each of its tables as the results have it now."""
    found = pd.read_csv(RESULTS)
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]](found)}\n\n{block[4]}", page)


def _size(found: pd.DataFrame) -> pd.Series[str]:
    """What a row's study is called."""
    one = "one model, " + found["seeds"].astype(str) + " seeds"
    many = found["models"].astype(str) + " models"
    family = "family of three, " + found["seeds"].astype(str) + " seeds"
    named = found["kind"].where(found["kind"] != "one model", one).where(found["kind"] != "models", many)
    return named.where(found["kind"] != "family", family)


def main() -> int:
    """Print the tables, or write those that the page shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write the tables of docs/{PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    found = pd.read_csv(RESULTS)
    for name, make in TABLES.items():
        print(f"{name}\n\n{make(found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
