"""`python -m olora_bench.study`: what the make targets call. Imports torch only when something runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from olora_bench.assets import hub
from olora_bench.config.own_inits import use_folder
from olora_bench.errors import BadInput, MissingAssets, RecordError, StoreError, of_system
from olora_bench.process import terminal
from olora_bench.process.preemption import INTERRUPTED, INTERRUPTED_CODE
from olora_bench.process.progress import say


def run(arguments: argparse.Namespace, *more: str) -> int:
    """Run what is missing of a study through Hydra, then print its report."""
    from olora_bench.__main__ import main as hydra_main
    from olora_bench.study.expand import find_study
    from olora_bench.study.schema import check_hydra

    path = find_study(arguments.name)
    check_hydra(path, [*arguments.overrides, *more])
    own = [] if arguments.config_dir is None else [f"--config-dir={arguments.config_dir.absolute()}"]
    hydra_main([*own, f"--config-name={path.name}", *arguments.overrides, *more], study_dir=path.parent)
    # What only Hydra's own node takes, such as the launcher, is nothing that a report could read.
    arguments.overrides = [part for part in arguments.overrides if not part.lstrip("+~").startswith("hydra")]
    from olora_bench.study.expand import StudyFile
    from olora_bench.study.fresh import standing_report

    file = StudyFile(path, arguments.overrides)
    standing = standing_report(file.results_dir, file.study.name, path, arguments.overrides)
    if standing is None:
        return report(arguments)
    print(standing[0])
    return 0 if standing[1] else 1


def retry(arguments: argparse.Namespace) -> int:
    """Run a study with its failed runs tried again."""
    return run(arguments, "hydra.sweeper.retry=true")


def plan(arguments: argparse.Namespace) -> int:
    """Say what a study would run and what is done already."""
    from olora_bench.study.plan import plan_text

    print(plan_text(arguments.name, arguments.overrides, calibrate=not arguments.no_calibration))
    return 0


def plans(arguments: argparse.Namespace) -> int:
    """Print the plans of the studies that come with the package, as docs/studies.md has them."""
    from olora_bench.study.shipped import page

    print(page(arguments.overrides or None), end="")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say where a study stands; 1 while it is not complete."""
    from olora_bench.study.status import status_text

    text, complete = status_text(arguments.name, arguments.overrides)
    print(text)
    return 0 if complete else 1


def watch(arguments: argparse.Namespace) -> int:
    """Serve a study's page while it runs, until Ctrl-C."""
    from olora_bench.study.watch import watch as serve

    serve(arguments.name, arguments.overrides, arguments.port)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Print a study's report from its records, write its tables and page; 1 if the study is not complete, 2 if they cannot be written."""
    from olora_bench.study.report import report as make_report

    made = make_report(arguments.name, arguments.overrides, run_pages=getattr(arguments, "run_pages", False))
    print(made.text)
    if made.unwritten is not None:
        print(made.unwritten, file=sys.stderr)
        return 2
    return 1 if made.lacks else 0


def extract(arguments: argparse.Namespace) -> int:
    """Print what a study found in a few lines of Markdown, or put them between their marks in a page; 1 if the study is not complete."""
    from olora_bench.formats import read_text
    from olora_bench.report.extract import filled
    from olora_bench.store import atomic_write
    from olora_bench.study.report import extract_text

    study, text, answers, lacks = extract_text(arguments.name, arguments.overrides)
    if arguments.into is None:
        print(text)
        return _exit_code(lacks)
    page = read_text(arguments.into)
    if page is None:
        raise BadInput(f"--into {arguments.into}: no such file. Name a Markdown page that is there")
    atomic_write(arguments.into, filled(page, study, text, answers).encode())
    return _exit_code(lacks)


def _exit_code(lacks: list[str]) -> int:
    """The exit code of a study that lacks this, after saying so."""
    from olora_bench.analysis.complete import lacking_text

    if lacks:
        print(lacking_text(lacks), file=sys.stderr)
    return 1 if lacks else 0


def figures(arguments: argparse.Namespace) -> int:
    """Write a study's tables and figures again from its records; 1 if the study is not complete."""
    from olora_bench.study.report import figures_text

    text, lacks = figures_text(arguments.name, arguments.overrides)
    print(text)
    return _exit_code(lacks)


def fetch(arguments: argparse.Namespace) -> int:
    """Fetch the models and data of every run of a study, and check every row that it reads."""
    from olora_bench.assets import check_all
    from olora_bench.assets import fetch as fetch_assets
    from olora_bench.data import check
    from olora_bench.study.open import find_and_open

    grids = find_and_open(arguments.name, arguments.overrides).grids()
    check_all([(job.experiment, job.assets) for job in grids.jobs])
    seen: set[tuple[str, str]] = set()  # one key may stand for other bytes in another run of the study
    for job in grids.jobs:
        wanted = {(asset.key, asset.identity) for asset in job.assets.values()}
        if not wanted <= seen:
            check(job.experiment, fetch_assets(job.experiment, job.assets))
            seen |= wanted
    say(f"study {grids.study.name}: {len(seen)} assets at hand")
    return 0


def sync(arguments: argparse.Namespace) -> int:
    """Make a study's missing or broken W&B runs again from its records; 1 if one could not be made."""
    from olora_bench.study.sync import sync_text

    text, complete = sync_text(arguments.name, arguments.overrides)
    print(text)
    return 0 if complete else 1


def explain(arguments: argparse.Namespace) -> int:
    """Print what went into a run's id; given another run's id, what differs."""
    from olora_bench.identity import explain as explain_identity
    from olora_bench.store import Store

    others = [part for part in arguments.overrides if "=" not in part]
    store = Store(_results_dir([part for part in arguments.overrides if "=" in part]))
    print(explain_identity(*(store.named_run(name).identity for name in (arguments.name, *others[:1]))))
    return 0


def again(arguments: argparse.Namespace) -> int:
    """Compute a recorded run once more and compare; 1 where it does not come out the same, 2 where it cannot be computed here."""
    from olora_bench.report.again import again_text
    from olora_bench.run.again import again as computed_again

    done = computed_again(arguments.name, arguments.overrides, config_dir=arguments.config_dir)
    print(again_text(done))
    return 0 if done.same else 1


def items(arguments: argparse.Namespace) -> int:
    """Print a run's benchmark items, with their text where it is on this machine."""
    from olora_bench.run.items import item_lines
    from olora_bench.study.imported_items import imported_item_lines, imported_run

    foreign = imported_run(_results_dir(arguments.overrides), arguments.name)
    only = {"benchmark": arguments.benchmark, "limit": arguments.limit}
    for line in item_lines(arguments.name, arguments.overrides, **only) if foreign is None else imported_item_lines(*foreign, **only):
        print(line)
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Import runs that others made, and print the report; 1 if some that the file declares are missing or unreadable."""
    from olora_bench.study.imported import import_study

    made = import_study(Path(arguments.name), _results_dir(arguments.overrides), figures=arguments.figures)
    print(made.text)
    return 1 if made.lacks else 0


def export(arguments: argparse.Namespace) -> int:
    """Write a study's records as lm-eval's files and tidy tables."""
    from olora_bench.study.exported import export_study

    done = export_study(arguments.name, arguments.overrides, arguments.to)
    print("\n".join([*(f"left out: {one}" for one in done.left_out), f"{arguments.to}: {done.runs} runs, {done.items} items"]))
    return 0


def gc(arguments: argparse.Namespace) -> int:
    """List what no study needs; remove what is left over when asked, and what was run by hand when asked for that."""
    from olora_bench.study.garbage import gc_lines

    if arguments.by_hand and not arguments.remove:
        raise BadInput("--by-hand says what --remove may remove too: give both, or neither to see the list")
    if named := [word for word in arguments.overrides if "=" not in word]:
        raise BadInput(
            f"gc {named[0]}: gc takes no study's name. It looks at a whole results folder and leaves what any study needs. "
            "Allowed: overrides, e.g. machine.results_dir=DIR"
        )
    for line in gc_lines(_results_dir(arguments.overrides), remove=arguments.remove, by_hand=arguments.by_hand):
        print(line, flush=True)
    return 0


def _results_dir(overrides: Sequence[str]) -> Path:
    from olora_bench.config import compose, machine

    return machine(compose(overrides)).results_dir


Command = Callable[[argparse.Namespace], int]
COMMANDS: dict[str, tuple[Command, str]] = {
    "run": (run, "run what is missing of a study, then print its report; again = resume"),
    "plan": (plan, "what a study would run, what is done, how long the rest takes; runs nothing"),
    "plans": (plans, "the plans of the studies that come with the package, as docs/studies.md has them, on no machine in particular"),
    "status": (status, "done, running where and since when, failed and why, time left"),
    "watch": (watch, "a page on this machine alone that shows a study as it runs; reads, writes nothing; until Ctrl-C"),
    "retry": (retry, "as run, with failed runs tried again"),
    "report": (report, "a study's table, tables as files and page from its records; --run-pages adds a page for each run"),
    "figures": (figures, "a study's tables and figures from its records"),
    "extract": (extract, "what a study found, in a few lines of Markdown; --into PAGE puts them into a page"),
    "assets": (fetch, "fetch the models and data of a study ahead of time"),
    "sync": (sync, "make a study's missing or broken W&B runs again from its records"),
    "explain": (explain, "what went into a run's id; with a second id, what differs"),
    "again": (again, "compute a recorded run once more from its record, and say how near it comes; 1 where it does not"),
    "items": (items, "a run's benchmark items one by one, with their text where it is on this machine"),
    "import": (import_, "runs that others made, as a study: records, verdicts, tables and page (docs/judge.md)"),
    "export": (export, "a study's records as lm-eval's results and samples, and as tidy Parquet tables, in --to FOLDER"),
    "gc": (gc, "list what no study needs; --remove removes folders without a record, with --by-hand also what was run by hand"),
}


READING = frozenset({"plan", "plans", "status", "watch", "report", "figures", "extract", "explain", "items", "gc"})
"""Commands that fetch nothing, whatever a study or a results folder of somebody else names."""


PORT = 8765
"""Of `watch`, where no other is given."""


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number from 0 (a free port) to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line of studies."""
    return _parsers()[0]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line; options may stand before, between and after overrides."""
    top, commands = _parsers()
    if argv and argv[0] in commands:
        return _named(commands[argv[0]].parse_intermixed_args(argv[1:], argparse.Namespace(command=argv[0])))
    return top.parse_args(argv)


def _named(arguments: argparse.Namespace) -> argparse.Namespace:
    """With the name where it was meant: an override may stand before it."""
    words = [getattr(arguments, "name", ""), *arguments.overrides]
    own = next((word for word in words if "=" not in word or word.endswith(".yaml")), None)
    if "=" in words[0] and own is not None:
        words.remove(own)
        arguments.name, arguments.overrides = own, words
    return arguments


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    top = argparse.ArgumentParser(prog="python -m olora_bench.study", description="Plan, run and report a study (a file of sweeps/).")
    commands = top.add_subparsers(dest="command", required=True)
    for command, (_, text) in COMMANDS.items():
        one = commands.add_parser(command, help=text, description=text)
        if command == "gc":
            one.add_argument("--remove", action="store_true", help="remove what is left over: folders without a record")
            one.add_argument("--by-hand", action="store_true", help="with --remove: remove finished runs and evaluations on the list too")
        elif command != "plans":
            of_run = command in ("explain", "again", "items")
            one.add_argument(
                "name", help="train_id of a run, or its beginning" if of_run else "name of a study, or the path of its YAML file"
            )
        if command == "plan":
            one.add_argument("--no-calibration", action="store_true", help="measure no model that has no record: its time is from FLOPs")
        if command == "watch":
            one.add_argument("--port", type=_port, default=PORT, help=f"of the page's address (default {PORT}); 0 takes a free one")
        if command == "report":
            one.add_argument("--run-pages", action="store_true", help="write a page for each run too, below report/runs/")
        if command == "extract":
            one.add_argument(
                "--into", type=Path, help="a page with the lines `<!-- study NAME -->`, or `<!-- claims NAME -->`, and `<!-- end -->`"
            )
        if command == "import":
            one.add_argument("--figures", action="store_true", help="draw the figures too")
        if command == "export":
            one.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder, or an empty one")
        one.add_argument("--config-dir", type=Path, help="a folder of configs and inits of your own, searched first; its code is trusted")
        if command == "items":
            one.add_argument("--benchmark", help="only this benchmark's items")
            one.add_argument("--limit", type=_positive, help="at most this many items of each benchmark")
        of_command = {"explain": "the train_id of another run", "plans": "names of studies; all, if none is given"}
        what = of_command.get(command, "Hydra overrides for every run, e.g. machine.results_dir=/data/results")
        one.add_argument("overrides", nargs="*", help=what)
    return top, commands.choices


def main(argv: Sequence[str] | None = None) -> None:
    """Exit codes: 0 done, 1 the study is not complete, 2 the request cannot be carried out as written, 130 Ctrl-C, 128 and the signal's
    number where one asked a run to end."""
    terminal.prepare()
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        if arguments.config_dir is not None:
            use_folder(arguments.config_dir)
        with hub.asking_nobody() if arguments.command in READING else nullcontext():
            code = COMMANDS[arguments.command][0](arguments)
        sys.stdout.flush()
        raise SystemExit(code)
    except (BadInput, MissingAssets, StoreError, RecordError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(of_system(error), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        raise SystemExit(INTERRUPTED_CODE) from None


if __name__ == "__main__":
    main()
