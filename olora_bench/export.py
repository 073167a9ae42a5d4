"""`python -m olora_bench.export RUN --to {adapter,lora,merged} OUT`: a trained adapter for use elsewhere.

adapter: PEFT's own format; loading it changes the base again as the init did, so only for inits that PEFT re-creates.
lora:    a plain LoRA for the pristine base. Exact at rank 2r, since (W - s B0 A0) + s B A = W + s [B | -B0][A ; A0]; at rank r where the
         init left the base alone; `--rank k` keeps the best k (SVD) and reports what is lost.
merged:  the whole model with the adapter added in, as a folder that transformers loads.
Each is loaded again as a user would, and its logits are compared with the trained model's. The Python that loads it is printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from olora_bench.config.own_inits import use_folder
from olora_bench.errors import BadInput, MissingAssets, RecordError, StoreError
from olora_bench.process import terminal
from olora_bench.process.progress import say
from olora_bench.run.export import export


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the command line. Exit codes: 0 done, 2 the request cannot be carried out as written."""
    parser = argparse.ArgumentParser(
        prog="python -m olora_bench.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a train_id, its beginning, or the folder of a run")
    parser.add_argument("--to", required=True, choices=["adapter", "lora", "merged"])
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to write")
    parser.add_argument("--rank", type=int, help="with --to lora: a smaller rank than the exact one")
    parser.add_argument("--results", type=Path, help="the results folder (default: the configured one)")
    parser.add_argument("--config-dir", type=Path, help="a folder of configs of your own that describes the run's model")
    terminal.prepare()
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.config_dir is not None:
            use_folder(options.config_dir)
        done = export(options.run, options.to, options.out, rank=options.rank, results=options.results, config_dir=options.config_dir)
    except (BadInput, MissingAssets, RecordError, StoreError) as error:
        print(error, file=sys.stderr)
        if isinstance(error, MissingAssets) and not os.environ.get("OLORA_BENCH_LOCAL"):
            given = shlex.join(sys.argv[1:] if arguments is None else arguments)
            print(f"With FOLDER as machine.local_dir: OLORA_BENCH_LOCAL=FOLDER python -m olora_bench.export {given}", file=sys.stderr)
        return 2
    rank = "" if done.rank is None else f", rank {done.rank}"
    lost = f", {done.lost:.2%} of the difference's norm left out" if done.lost else ""
    how_near = f"logits deviate from the trained model's by {done.deviation:.1e} of the greatest, in {done.precision}"
    say(f"{done.path}: {options.to}{rank}{lost}; {how_near}. It is loaded by")
    print(done.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
