"""Fetch an experiment's assets ahead of it: `python -m olora_bench.assets model=tinyllama data=alpaca`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from olora_bench.errors import BadInput, StoreError
from olora_bench.process import terminal

PATIENCE_S = 20.0  # who fetches ahead would rather wait for a slow index than be refused

USAGE = """\
usage: python -m olora_bench.assets [KEY=VALUE ...]

Fetches the model, benchmarks and data of an experiment into machine.cache_dir, so that it later runs without a network.
Takes the overrides of `python -m olora_bench`, e.g. model=tinyllama data=alpaca suite=commonsense6 assets=[local,hub]."""


def main(arguments: Sequence[str]) -> int:
    """Fetch and print one line an asset. Returns the exit code: 0, or 2 with the reason on standard error."""
    terminal.prepare()
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        from olora_bench.assets import check, fetch, resolve
        from olora_bench.config import compose, load

        experiment = load(compose(list(arguments)))
        assets = resolve(experiment)
        check(experiment, assets, within_s=PATIENCE_S)
        folders = fetch(experiment, assets)
    except (BadInput, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    for key, asset in assets.items():
        print(f"{key}: {asset.source}, {asset.identity}" + (f", in {folders[key]}" if key in folders else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
