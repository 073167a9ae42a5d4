"""The commands that make a study's runs and report again, as they are typed from here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from olora_bench.config import sweeps_dir
from olora_bench.config.lines import plain_line
from olora_bench.config.own_inits import own_folders
from olora_bench.config.sources import NAME
from olora_bench.study.expand import to_name
from olora_bench.study.names import typed_here

_WHAT = {
    "plan": "what would run; runs nothing",
    "sweep": "the runs that are missing, then this report",
    "report": "this report again from {source}, no GPU, no network",
    "figures": "the figures again from {source}",
}
"""Target of the Makefile, or command of studies -> what it does."""


def remake(study: str, file: Path | None, results_dir: Path, overrides: Sequence[str] = ()) -> list[str]:
    """A line a command, with what it does.

    Args:
        study: its name.
        file: the study's file; None where it is not known, and the name stands for it.
        overrides: those that change its runs.
    """
    name = study if file is None else to_name(file)
    checkout = sweeps_dir().parent
    made = file is None or file.parent == sweeps_dir().resolve()
    if made and (checkout / "Makefile").is_file() and re.fullmatch(NAME, name) and not own_folders():
        usual = results_dir.absolute() == checkout / "results"
        elsewhere = [] if usual else [plain_line("machine.results_dir", str(results_dir.absolute()))]
        commands = {target: _make(target, name, [*overrides, *elsewhere]) for target in _WHAT}
    else:
        usual = False
        commands = {target: typed_here("run" if target == "sweep" else target, name, results_dir, *overrides) for target in _WHAT}
    wide, source = max(map(len, commands.values())), "results/" if usual else "its records"
    return [f"{command:{wide}}   # {_WHAT[target].format(source=source)}" for target, command in commands.items()]


def _make(target: str, name: str, overrides: Sequence[str]) -> str:
    """A target of the checkout, whose shell reads ARGS once more, after make has read its dollars."""
    given = f" ARGS={shlex.quote(shlex.join(overrides).replace('$', '$$'))}" if overrides else ""
    return f"make {target} SWEEP={name}{given}"
