"""The tables of docs/statistics.md and docs/looks.md, from simulations/results/. `python -m simulations.tables --write` fills them in.

A table stands in its page between `<!-- table NAME -->` and `<!-- end -->`; tests/test_docs.py holds it to what is made here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(<!-- table (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

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
    rows = []
    for size, group in found.groupby("size", sort=False):
        ratio = group["block_se"] / group["item_se"]
        rows.append([str(size), str(len(group)), f"{ratio.min():.1f} to {ratio.max():.1f}", *(_extent(group[name]) for name in ERRORS)])
    head = ["studies", "settings", "block error / item error", *ERRORS.values()]
    return _table(head, rows, f"Percent of {found['studies'].min():,} studies a setting, {len(found)} settings. {_wrote('verdict')}")


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
    rows = []
    for row in found.to_dict("records"):
        cells = [
            row["role"] + (", wider seeds" if row["seed"] else ""),
            str(row["seeds"]),
            f"{row['block_se']:.2f}",
            f"{row['item_se']:.2f}",
        ]
        cells += [f"{row['truth']:g}", *(f"{100 * row[name]:.1f}" for name in ("better", "oracle", "foretold"))]
        rows.append(cells)
    return _table(head, rows, f"{found['studies'].min():,} studies a row. {_wrote('verdict')}")


LOOKS = {
    "called": "called different",
    "false_equivalence": "false equivalence",
    "missed": "interval misses, at most",
    "naive": "without a price for looking",
}


def looks(found: pd.DataFrame) -> str:
    """A row a kind of study that looks several times."""
    found = found[found["kind"] != "power"].assign(missed=lambda own: 1 - own["coverage"])
    named = found["kind"].where(found["kind"] != "models", found["models"].astype(str) + " models")
    rows = []
    for (kind, plan), group in found.groupby([named, "plan"], sort=False):
        rows.append([str(kind), str(plan).replace(" ", ", "), str(len(group)), *(_extent(group[name]) for name in LOOKS)])
    head = ["studies", "seeds a model at looks", "settings", *LOOKS.values()]
    return _table(head, rows, f"Percent of {found['studies'].min():,} studies a setting, {len(found)} settings. {_wrote('looks')}")


def foretold(found: pd.DataFrame) -> str:
    """A row a setting whose plan was made from its mean variances."""
    found = found[found["kind"] == "power"]
    head = ["variances", "true difference, pp", "better, %", "foretold", "equivalent, %", "foretold", "seeds until decided", "foretold"]
    rows = []
    for row in found.to_dict("records"):
        cells = [row["role"] + (", wider seeds" if row["seed"] else ""), f"{row['truth']:g}"]
        cells += [f"{100 * row[name]:.1f}" for name in ("better", "better_foretold", "equivalent", "equivalent_foretold")]
        rows.append([*cells, *(f"{row[name]:.1f}" for name in ("seeds_until", "seeds_until_foretold"))])
    return _table(head, rows, f"{found['studies'].min():,} studies a row. {_wrote('looks')}")


def price(found: pd.DataFrame) -> str:
    """A row a kind of study: what it costs with looks, and with twenty blocks, as they are and as a share."""
    keys, rows = ["kind", "truth", "items", "spread", "finalists", "tuning_seeds"], []
    for key, pair in found.groupby(keys, sort=False):
        mine, fixed = (pair[pair["design"] == name].iloc[0] for name in ("looks", "fixed"))
        kind, truth, items, spread, finalists, seeds = key if isinstance(key, tuple) else (key,)
        cells = [
            f"{kind}{', blocks of twice the variance' if spread > 1 else ''}{', two tuning seeds' if seeds > 1 else ''}",
            f"{truth:g}",
            str(items),
            str(finalists),
            f"{mine['seeds']:.1f}",
        ]
        cells += [f"{mine[name]:.1f} of {fixed[name]:.1f} ({mine[name] / fixed[name]:.2f})" for name in ("runs", "hours")]
        rows.append([*cells, *(f"{100 * mine[name]:.1f}, {100 * fixed[name]:.1f}" for name in ("undecided", "error"))])
    head = ["studies", "true difference", "items", "finalists", "blocks", "runs", "core hours", "undecided, %", "error, %"]
    return _table(head, rows, f"With looks, then fixed; {found['studies'].min():,} studies each. {_wrote('price')}")


TABLES: dict[str, tuple[str, str, Callable[[pd.DataFrame], str]]] = {
    "errors": ("statistics.md", "verdict.csv", errors),
    "power": ("statistics.md", "verdict.csv", power),
    "looks": ("looks.md", "looks.csv", looks),
    "foretold": ("looks.md", "looks.csv", foretold),
    "price": ("looks.md", "price.csv", price),
}
"""Name -> its page, the results that it is made from, and what makes it."""
PAGES = tuple(dict.fromkeys(page for page, _, _ in TABLES.values()))


def table(name: str) -> str:
    """A table as the results have it now."""
    _, results, make = TABLES[name]
    return make(pd.read_csv(RESULTS / results))


def filled(page: str) -> str:
    """A page with each of its tables as the results have it now."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[4]}", page)


def _table(head: list[str], rows: list[list[str]], below: str) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows), "", below])


def _extent(shares: pd.Series[float]) -> str:
    low, high = f"{100 * shares.min():.1f}", f"{100 * shares.max():.1f}"
    return low if low == high else f"{low} to {high}"


def _wrote(name: str) -> str:
    return f"`python -m simulations.{name}` wrote `simulations/results/{name}.csv`."


def _size(found: pd.DataFrame) -> pd.Series[str]:
    """What a row's study is called."""
    one = "one model, " + found["seeds"].astype(str) + " seeds"
    many = found["models"].astype(str) + " models"
    family = "family of three, " + found["seeds"].astype(str) + " seeds"
    named = found["kind"].where(found["kind"] != "one model", one).where(found["kind"] != "models", many)
    return named.where(found["kind"] != "family", family)


def main() -> int:
    """Print the tables, or write those that the pages show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables of docs/")
    if parser.parse_args().write:
        for page in PAGES:
            (DOCS / page).write_text(filled((DOCS / page).read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    for name in TABLES:
        print(f"{name}\n\n{table(name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
