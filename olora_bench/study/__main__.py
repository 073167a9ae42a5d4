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
from olora_bench.study.arguments import OF_RUN, parse, parsers


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
    standing = standing_report(file.home, path)
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
    from olora_bench.study.report import extract_text

    return _extracted(arguments, *extract_text(arguments.name, arguments.overrides))


def _extracted(arguments: argparse.Namespace, study: str, text: str, answers: str, lacks: list[str]) -> int:
    from olora_bench.formats import read_text
    from olora_bench.report.extract import filled
    from olora_bench.store import atomic_write

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
    for name in (arguments.name, *others[:1]):
        _not_imported(store.root, name)
    print(explain_identity(*(store.named_run(name).identity for name in (arguments.name, *others[:1]))))
    return 0


def _not_imported(results_dir: Path, name: str) -> None:
    from olora_bench.foreign.record import folder_of
    from olora_bench.study.imported_items import imported_runs

    for home, one in imported_runs(results_dir, name)[:1]:
        raise BadInput(f"run {one.run_id} was made elsewhere and imported: all that is known of it is in {folder_of(home, one.run_id)}")


def again(arguments: argparse.Namespace) -> int:
    """Compute a recorded run once more and compare; 1 where it does not come out the same, 2 where it cannot be computed here."""
    _not_imported(_results_dir(arguments.overrides), arguments.name)
    from olora_bench.report.again import again_text
    from olora_bench.run.again import again as computed_again

    done = computed_again(arguments.name, arguments.overrides, config_dir=arguments.config_dir)
    print(again_text(done))
    return 0 if done.same else 1


def items(arguments: argparse.Namespace) -> int:
    """Print a run's benchmark items, with their text where it is on this machine."""
    from olora_bench.run.items import item_lines
    from olora_bench.study.imported_items import imported_runs, item_lines_of

    foreign = imported_runs(_results_dir(arguments.overrides), arguments.name)
    only = {"benchmark": arguments.benchmark, "limit": arguments.limit}
    for line in item_lines_of(foreign, **only) if foreign else item_lines(arguments.name, arguments.overrides, **only):
        print(line)
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Import runs that others made, and print the report; 1 if some that the file declares are missing or unreadable."""
    from olora_bench.study.imported_report import import_study

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


IMPORTED = ("status", "report", "figures", "extract", "items")
"""Commands that take the name of a study whose runs were imported."""


def of_imported(arguments: argparse.Namespace, home: Path) -> int:
    """A command on a study whose runs were imported: from its records, as on any other.

    Raises:
        BadInput: the command is for studies that run here.
    """
    from olora_bench.study import imported_report as of
    from olora_bench.study.names import changing

    command = arguments.command
    if command not in IMPORTED:
        raise BadInput(f"study {home.name} was imported to {home}: others ran it. Allowed: {', '.join(IMPORTED)}")
    if changes := changing(arguments.overrides):
        raise BadInput(f"{changes[0]}: others ran study {home.name}, and nothing changes their runs. Allowed: machine.results_dir=DIR")
    if command == "extract":
        return _extracted(arguments, *of.extracted(home))
    if getattr(arguments, "run_pages", False):
        raise BadInput(f"--run-pages: runs of {home.name} were imported, and have no pages of their own")
    made = {"status": of.status, "report": of.report, "figures": of.figures}[command](home)
    print(made.text)
    return _exit_code(made.lacks) if command == "figures" else int(bool(made.lacks))


def _carry_out(arguments: argparse.Namespace) -> int:
    """The command, on whatever its name stands for: a study that runs here, or one that was imported."""
    from olora_bench.study.names import imported_home

    command = arguments.command
    if command not in ("plans", "gc", "import", *OF_RUN):
        place = [one for one in arguments.overrides if one.lstrip("+").startswith("machine.")]
        home = imported_home(_results_dir(place), arguments.name)
        if home is not None:
            return of_imported(arguments, home)
    return COMMANDS[command][0](arguments)


READING = frozenset({"plan", "plans", "status", "watch", "report", "figures", "extract", "explain", "items", "gc"})
"""Commands that fetch nothing, whatever a study or a results folder of somebody else names."""


HELP = {command: text for command, (_, text) in COMMANDS.items()}


def parser() -> argparse.ArgumentParser:
    """The command line of studies."""
    return parsers(HELP)[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Exit codes: 0 done, 1 the study is not complete, 2 the request cannot be carried out as written, 130 Ctrl-C, 128 and the signal's
    number where one asked a run to end."""
    terminal.prepare()
    arguments = parse(sys.argv[1:] if argv is None else argv, HELP)
    try:
        if arguments.config_dir is not None:
            use_folder(arguments.config_dir)
        with hub.asking_nobody() if arguments.command in READING else nullcontext():
            code = _carry_out(arguments)
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
