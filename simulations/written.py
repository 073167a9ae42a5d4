"""The command of a simulation: row after row is simulated, shown, and written to its CSV."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

STUDIES = 10_000


def write(about: str | None, path: Path, simulated: Callable[[int], Iterable[Mapping[str, object]]]) -> int:
    """Simulate as many studies a row as the command line asks for, and write the rows.

    Args:
        about: the command's help.
        path: of the CSV.
        simulated: studies a row -> the rows.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help="a row")
    rows = []
    for row in simulated(parser.parse_args().studies):
        rows.append(row)
        print(pd.DataFrame([row]).to_string(header=len(rows) == 1, index=False), file=sys.stderr, flush=True)
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return 0
