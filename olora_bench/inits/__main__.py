"""Try an init of one's own against the contract: `python -m olora_bench.inits check my_init --config-dir .`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from olora_bench.errors import BadInput, StoreError
from olora_bench.process import terminal

_ON = ("model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", "precision=fp32", "machine.device=cpu")


def main(arguments: Sequence[str]) -> int:
    """Print one line a point of the contract. Returns the exit code: 0 all hold, 1 one does not, 2 it cannot be tried."""
    terminal.prepare()
    top, check = _parsers()
    # As in a study's command line, options may stand among overrides.
    asked = check.parse_intermixed_args(arguments[1:]) if arguments[:1] == ["check"] else top.parse_args(arguments)
    try:
        from olora_bench.config import compose, load
        from olora_bench.config.own_inits import use_folder

        if asked.config_dir is not None:
            use_folder(asked.config_dir)
        experiment = load(compose([*_ON, f"init={asked.name}", *asked.overrides]))
        from olora_bench.inits._contract import Trial

        rows = list(Trial(experiment).rows())
    except (BadInput, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    widest = max(len(row.tried) for row in rows)
    for row in rows:
        print(f"{ {True: 'holds', False: 'FAILS', None: '-'}[row.holds]:<6} {row.tried:<{widest}}  {row.found}")
    broken = sum(row.holds is False for row in rows)
    print(f"init={asked.name}: {f'{broken} of {len(rows)} points fail' if broken else 'it keeps the contract'}")
    return 1 if broken else 0


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    top = argparse.ArgumentParser(prog="python -m olora_bench.inits", description="Try inits against what every init has to keep.")
    one = top.add_subparsers(dest="command", required=True).add_parser("check", help="run the contract on an init and print a table")
    one.add_argument("name", help="an init: an option of conf/init, a file init/NAME.py below --config-dir, or an entry point")
    one.add_argument("--config-dir", type=Path, help="a folder of configs and inits of your own; its code is run")
    one.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. init.options.size=2 rank=8 model.target_modules=[q_proj]")
    return top, one


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
