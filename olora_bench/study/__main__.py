"""`python -m olora_bench.study`: what the make targets call. Imports torch only when something runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from olora_bench.errors import BadInput, MissingAssets, RecordError, StoreError
from olora_bench.progress import say


def run(name: str, overrides: Sequence[str]) -> int:
    """Run what is missing of a study through Hydra, then print its report."""
    from olora_bench.__main__ import main as hydra_main
    from olora_bench.study.grid import find_study

    path = find_study(name)
    sys.argv = ["olora_bench", "--config-dir", str(path.parent), "--config-name", path.stem, *overrides]
    hydra_main()
    return report(name, overrides)


def plan(name: str, overrides: Sequence[str]) -> int:
    """Say what a study would run and what is done already."""
    from olora_bench.study.plan import plan_text

    print(plan_text(name, overrides))
    return 0


def report(name: str, overrides: Sequence[str]) -> int:
    """Print a study's table from its records; 1 if a run of it is not done."""
    from olora_bench.study.tables import report_text

    text, complete = report_text(name, overrides)
    print(text)
    return 0 if complete else 1


def figures(name: str, overrides: Sequence[str]) -> int:
    """Not built yet."""
    raise BadInput("make figures: not built yet; `make report` prints the tables")


def fetch(name: str, overrides: Sequence[str]) -> int:
    """Fetch the models and data of every run of a study."""
    from olora_bench.assets import check_all
    from olora_bench.assets import fetch as fetch_assets
    from olora_bench.study.stages import find_and_open

    grids = find_and_open(name, overrides).grids()
    check_all([(job.experiment, job.assets) for job in grids.jobs])
    seen: set[str] = set()
    for job in grids.jobs:
        if not seen.issuperset(job.assets):
            fetch_assets(job.experiment, job.assets)
            seen |= set(job.assets)
    say(f"study {grids.study.name}: {len(seen)} assets at hand")
    return 0


def explain(run_id: str, overrides: Sequence[str]) -> int:
    """Print what went into a run's id; given another run's id, what differs."""
    from olora_bench.identity import explain as explain_identity
    from olora_bench.store import Store

    others = [part for part in overrides if "=" not in part]
    results = next((part.split("=", 1)[1] for part in overrides if part.startswith("machine.results_dir=")), "results")
    store = Store(Path(results))
    identities = []
    for train_id in (run_id, *others[:1]):
        record = store.read_run(train_id)
        if record is None:
            raise BadInput(f"no run {train_id!r} in {store.root / 'runs'}: see the folder's names for those there are")
        identities.append(record.identity)
    print(explain_identity(*identities))
    return 0


COMMANDS: dict[str, tuple[Callable[[str, Sequence[str]], int], str]] = {
    "run": (run, "run what is missing of a study, then print its report; again = resume"),
    "plan": (plan, "what a study would run and what is done already; runs nothing"),
    "report": (report, "a study's table from its records"),
    "figures": (figures, "a study's figures from its records"),
    "assets": (fetch, "fetch the models and data of a study ahead of time"),
    "explain": (explain, "what went into a run's id; with a second id, what differs"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Exit codes: 0 done, 1 a run is not done, 2 the request cannot be carried out as written."""
    parser = argparse.ArgumentParser(prog="python -m olora_bench.study", description="Plan, run and report a study (a file of sweeps/).")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, (_, text) in COMMANDS.items():
        one = commands.add_parser(command, help=text, description=text)
        one.add_argument("name", help="train_id of a run" if command == "explain" else "name of a study, or the path of its YAML file")
        one.add_argument("overrides", nargs="*", help="Hydra overrides for every run, e.g. machine.results_dir=/data/results")
    arguments = parser.parse_args(argv)
    try:
        raise SystemExit(COMMANDS[arguments.command][0](arguments.name, arguments.overrides))
    except (BadInput, MissingAssets, StoreError, RecordError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
