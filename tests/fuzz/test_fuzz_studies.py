"""Study files that nobody expects, and options beside them: each is planned, shown or refused in words."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guarded import odd, own_folder, run_all  # noqa: F401  (a fixture)

from olora_bench.study.__main__ import main as study
from tests.study_text import HEAD, study_text

TUNED = """
protocol: tuned
contrasts:
  - {arm: olora, reference: lora, kind: primary}
tuning:
  criterion: tune_loss
  lrs: [1e-4, 3.16e-4, 1e-3]
  seeds: [0]
  fresh_seeds: [1, 2]
grids:
  - {init: [lora, olora]}
"""
LINES = study_text(TUNED, name="fuzz", head=HEAD + "recipe: {steps: 2}").strip().splitlines()
BOMB = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
MORE = [
    ["? [a]", ": 1"], ["<<: *x"], ["x: !!python/object/apply:os.system [id]"], BOMB, ["x: &x {y: *x}"], ["\x85"], ["---"], ["study: [1]"],
    ["model: x"], ["hydra: {launcher: {n_jobs: 9}}"], ["x: " + "[" * 3000], ["y: " + "9" * 5000],
]  # fmt: skip


def _cell(lines: list[str], rng: random.Random) -> list[str]:
    """One value is another."""
    number = rng.randrange(len(lines))
    head, colon, _ = lines[number].partition(": ")
    return [*lines[:number], f"{head}{colon or ': '}{odd(rng)}", *lines[number + 1 :]]


def _gone(lines: list[str], rng: random.Random) -> list[str]:
    first = rng.randrange(len(lines))
    return lines[:first] + lines[first + rng.randrange(1, 4) :]


def _twice(lines: list[str], rng: random.Random) -> list[str]:
    number = rng.randrange(len(lines))
    return [*lines[:number], lines[number], *lines[number:]]


def _shifted(lines: list[str], rng: random.Random) -> list[str]:
    number = rng.randrange(len(lines))
    return [*lines[:number], rng.choice([" ", "\t", "  ", "- ", "? "]) + lines[number], *lines[number + 1 :]]


def _more(lines: list[str], rng: random.Random) -> list[str]:
    return [*lines, *rng.choice([*MORE, [f"{odd(rng)}: {odd(rng)}"]])]


CHANGES = (_cell, _cell, _cell, _gone, _twice, _shifted, _more)


def content(rng: random.Random) -> bytes:
    """A study file with some of its lines changed, and sometimes its bytes."""
    lines = LINES
    for _ in range(rng.choice([1, 1, 2, 4])):
        lines = rng.choice(CHANGES)(lines, rng)
    found = "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:
        place = rng.randrange(len(found))
        found = rng.choice([found[:place], found[:place] + rng.randbytes(4) + found[place:], b"", b"\xff\xfe" + found, rng.randbytes(200)])
    return found


def put(file: Path, rng: random.Random) -> None:
    """A study file, or what is none in its place; sometimes an option of a group beside it."""
    kind = rng.random()
    if kind < 0.04:
        file.mkdir()
    elif kind < 0.08:
        os.mkfifo(file)
    elif kind < 0.12:
        file.symlink_to(rng.choice([file, Path("/dev/zero"), Path("nowhere")]))
    else:
        file.write_bytes(content(rng))
    if rng.random() < 0.2:
        group = file.parent / rng.choice(["model", "data", "suite", "hydra/launcher"])
        group.mkdir(parents=True)
        name = rng.choice(["tiny_tinyllama", "made_up", "none", "x"])
        (group / f"{name}.yaml").write_bytes(rng.choice([content(rng), b"\n".join(map(str.encode, BOMB)), b"\xff"]))


def cases(count: int, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = random.Random(20260201)
    for number in range(count):
        file = folder / f"{number}" / rng.choice(["fuzz.yaml", "fuzz.yaml", "fuzz.yaml", "fu zz=1,2.yaml", "é${x}.yaml", "config.yaml"])
        file.parent.mkdir()
        put(file, rng)
        command = ("plan --no-calibration", "plan --no-calibration", "status", "report", "extract")[number % 5]
        yield f"{command} {file}", lambda file=file, command=command: study([*command.split(), str(file)])


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.fuzz)])
def test_every_study_file_is_taken_or_refused_in_words(count: int, tmp_path: Path) -> None:
    run_all(cases(count, tmp_path))
