"""Kill -9 at random moments the workers of tiny studies that the command line starts; what they leave is compared with a calm study's."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from fault_workers import differences, events, finish, repeated, start, write_study


@dataclass
class Kills:
    """What happened. `problems` is empty when all held."""

    kills: int = 0
    studies: int = 0
    problems: list[str] = field(default_factory=list)


def kill_workers(folder: Path, kills: int, *, seed: int = 0) -> Kills:
    """Finish tiny studies until `kills` kills have hit; compare each with an undisturbed one."""
    write_study(folder, "storm", "[{init: [lora, olora], seed: [0, 1]}]")
    rng, seen, calm = random.Random(seed), Kills(), folder / "calm"
    code = finish(start(folder, "storm", calm))
    if code != 0:
        raise RuntimeError(f"an undisturbed study ended with {code}:\n{(folder / 'log').read_text()[-3000:]}")
    while seen.kills < kills and not seen.problems:
        seen.studies += 1
        for name in ("log", "events"):
            (folder / name).unlink()
        results = folder / f"study{seen.studies}"
        one_study(folder, results, rng, seen, kills)
        seen.problems += [f"study {seen.studies}: {text}" for text in (*differences(calm, results), *repeated(folder))]
        shutil.rmtree(results)
    return seen


def one_study(folder: Path, results: Path, rng: random.Random, seen: Kills, kills: int) -> None:
    """Start a worker again and again until one says that the study is done."""
    overrides: list[str] = []
    while True:
        worker = start(folder, "storm", results, *overrides)
        if not wait([worker.sentinel], None if seen.kills >= kills else moment(folder, worker, rng)):
            worker.kill()
            seen.kills += 1
        code = finish(worker)
        said = (folder / "log").read_text()
        if code == 0:
            return
        if code not in (1, -9) or "Traceback" in said:
            seen.problems.append(f"a worker ended with {code}: {said[-3000:]}")
            return
        if code == 1:  # a run that was killed five times in a row is given up, until one asks for it again
            overrides = ["hydra.sweeper.retry=true"]


def moment(folder: Path, worker: ForkServerProcess, rng: random.Random) -> float:
    """How many seconds from now to kill: one time in four at any moment from the start, else soon after the worker has begun to train."""
    if rng.random() < 0.25:
        return rng.uniform(0, 1.5)
    while worker.pid not in {pid for pid, _, _ in events(folder)} and not wait([worker.sentinel], 0.02):
        pass
    return rng.uniform(0, 0.7)
