"""The grammar of `python -m olora_bench.study`: its commands' names, options and overrides. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

OF_RUN = ("explain", "again", "items")
"""Commands that take the id of a run."""
PORT = 8765
"""Of `watch`, where no other is given."""


class _Parser(argparse.ArgumentParser):
    """Says what to type where a name is missing or an option is none."""

    def error(self, message: str) -> NoReturn:
        if "required: name" in message:
            message = "nothing is named. " + (
                "Give a run's train_id"
                if self.prog.endswith(OF_RUN)
                else "Give a study of sweeps/ by its name, or the path of its YAML file"
            )
        elif "unrecognized arguments" in message:
            message += ". Overrides are KEY=VALUE without dashes, such as tracker=none"
        super().error(message)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number from 0 (a free port) to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number from 1 on")
    return int(text)


def parse(argv: Sequence[str], helps: Mapping[str, str]) -> argparse.Namespace:
    """Read a command line; options may stand before, between and after overrides. `helps`: command -> what it does."""
    top, commands = parsers(helps)
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


def parsers(helps: Mapping[str, str]) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The command line of studies, and each command's own."""
    top = _Parser(prog="python -m olora_bench.study", description="Plan, run and report a study (a file of sweeps/).")
    commands = top.add_subparsers(dest="command", required=True)
    for command, text in helps.items():
        one = commands.add_parser(command, help=text, description=text)
        if command == "gc":
            one.add_argument("--remove", action="store_true", help="remove what is left over: folders without a record")
            one.add_argument("--by-hand", action="store_true", help="with --remove: remove finished runs and evaluations on the list too")
        elif command != "plans":
            of_run = "train_id of a run, or its beginning" + ("; of an imported study also its name" if command == "items" else "")
            one.add_argument("name", help=of_run if command in OF_RUN else "name of a study, or the path of its YAML file")
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
