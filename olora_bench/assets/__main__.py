"""Fetch an experiment's assets ahead of it: `python -m olora_bench.assets model=tinyllama data=alpaca`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from olora_bench.config.own_inits import without_folder
from olora_bench.errors import BadInput, StoreError
from olora_bench.process import terminal

PATIENCE_S = 20.0  # who fetches ahead would rather wait for a slow index than be refused

USAGE = """\
usage: python -m olora_bench.assets [--config-dir FOLDER] [KEY=VALUE ...]
       python -m olora_bench.assets --write FILE.yaml model=hub:org/name[@COMMIT] | model=local:FOLDER

Fetches the model, benchmarks and data of an experiment into machine.cache_dir, so that it later runs without a network.
Takes the overrides of `python -m olora_bench`, e.g. model=tinyllama data=alpaca suite=commonsense6 assets=[local,hub].

--write keeps a model's description as a YAML, e.g. conf/model/my_model.yaml, and fetches no weights: model=my_model then names it."""


def main(arguments: Sequence[str]) -> int:
    """Fetch and print one line an asset. Returns the exit code: 0, or 2 with the reason on standard error."""
    terminal.prepare()
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    if "--write" in arguments:
        return _write(list(arguments))
    try:
        from olora_bench.assets import check, fetch, resolve
        from olora_bench.config import compose, load

        experiment = load(compose(["rank=1", *without_folder(arguments)]))  # what is fetched depends on no rank
        assets = resolve(experiment)
        check(experiment, assets, within_s=PATIENCE_S)
        folders = fetch(experiment, assets)
    except (BadInput, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    for key, asset in assets.items():
        print(f"{key}: {asset.source}, {asset.identity}" + (f", in {folders[key]}" if key in folders else ""))
    return 0


def _write(arguments: list[str]) -> int:
    """Write the YAML of the model that is asked for. Returns the exit code, as `main`."""
    try:
        from olora_bench.assets.describe import write_yaml

        at = arguments.index("--write")
        target = arguments[at + 1 : at + 2]
        asked = arguments[:at] + arguments[at + 2 :]
        if len(target) != 1 or len(asked) != 1 or not asked[0].startswith(("model=hub:", "model=local:")):
            raise BadInput(f"--write takes a file and a model: --write conf/model/my_model.yaml model=hub:org/name\n{USAGE}")
        print(write_yaml(asked[0].removeprefix("model="), Path(target[0])))
    except (BadInput, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
