"""Kill -9 the workers of tiny studies at random moments, start them again, and compare what they leave with an undisturbed study.

    python tests/faults/kill_storm.py --kills 200 --direct

Exits with 1 and says what differs, where a finished study's records differ in anything but timings, a file is left over, or a worker
trained a run twice. `--workers 2`: two at once on one folder, one of them killed each time. `--direct` leaves out Hydra and the report,
which take most of the time of so small a study.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from fault_workers import differences, events, finish, repeated, start, start_directly, write_study


@dataclass
class Storm:
    """What happened. `problems` is empty when all held."""

    kills: int = 0
    studies: int = 0
    starts: int = 0
    resumed: int = 0
    given_up: int = 0
    problems: list[str] = field(default_factory=list)


def storm(folder: Path, kills: int, *, seed: int = 0, workers: int = 1, direct: bool = False) -> Storm:
    """Finish tiny studies, each with `workers` workers at once, until `kills` kills have hit; compare each with an undisturbed one."""
    write_study(folder, "storm", "[{init: [lora, olora], seed: [0, 1]}]")
    rng, seen, calm = random.Random(seed), Storm(), folder / "calm"
    begin = start_directly if direct else start
    code = finish(begin(folder, "storm", calm))
    if code != 0:
        raise RuntimeError(f"an undisturbed study ended with {code}:\n{(folder / 'log').read_text()[-3000:]}")
    while seen.kills < kills and not seen.problems:
        seen.studies += 1
        for name in ("log", "events"):
            (folder / name).unlink()
        results = folder / f"study{seen.studies}"
        one_study(folder, results, begin, rng, seen, kills, workers)
        seen.resumed += (folder / "log").read_text().count("going on after step")
        seen.problems += [f"study {seen.studies}: {text}" for text in (*differences(calm, results), *repeated(folder))]
        shutil.rmtree(results)
    return seen


def one_study(
    folder: Path, results: Path, begin: Callable[..., ForkServerProcess], rng: random.Random, seen: Storm, kills: int, workers: int
) -> None:
    """Start workers again and again until one says that the study is done, and let the others end too."""
    alive: list[ForkServerProcess] = []
    overrides: list[str] = []
    finished = False
    while alive or not finished:
        while len(alive) < workers and not finished:
            alive.append(begin(folder, "storm", results, *overrides))
            seen.starts += 1
        ended = wait([process.sentinel for process in alive], None if seen.kills >= kills else moment(folder, alive, rng))
        victim = rng.choice(alive) if not ended else next(process for process in alive if process.sentinel in ended)
        if not ended:
            victim.kill()
            seen.kills += 1
        code = finish(victim)
        alive.remove(victim)
        said = (folder / "log").read_text()
        if "Traceback" in said:
            code = 70
        if code == 0:
            finished = True
        elif code == 1 and not overrides:  # a run that was killed twice in a row is given up, until one asks for it again
            overrides = ["hydra.sweeper.retry=true"]
            seen.given_up += 1
        elif code not in (1, -9):
            seen.problems.append(f"a worker ended with {code}: {said[-3000:]}")
            return


def moment(folder: Path, alive: list[ForkServerProcess], rng: random.Random) -> float:
    """How many seconds from now to kill: one time in four at any moment from the start, else soon after a worker has begun to train."""
    if rng.random() < 0.25:
        return rng.uniform(0, 1.5)
    workers = {process.pid for process in alive}
    while not any(pid in workers for pid, _, _ in events(folder)) and not wait([process.sentinel for process in alive], 0.02):
        pass
    return rng.uniform(0, 0.7)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--direct", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = storm(Path(folder), options.kills, seed=options.seed, workers=options.workers, direct=options.direct)
    print(
        f"{seen.kills} kills in {seen.starts} starts over {seen.studies} studies of 4 runs, {time.monotonic() - began:.0f} s: "
        f"{seen.resumed} trainings went on from a checkpoint, {seen.given_up} studies gave a run up and were asked to retry it"
    )
    for problem in seen.problems:
        print(problem)
    raise SystemExit(1 if seen.problems else 0)


if __name__ == "__main__":
    main()
