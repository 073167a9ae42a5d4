"""`make storm`: faults in the workers of tiny studies, two to four at once on one folder; what they leave is compared with a calm study's.

    python tests/faults/storm.py --stub 450 --real 50 --table perf/results/storm.json

A worker is killed, stopped past its lease, refused a call, or has its clock set, before or after a call by which it touches the results
folder; then the same command is given again until the study is done. Exits with 1 and says what is lost, doubled, overwritten or left over.
The workers are forked from this process, which has imported everything: with stub training one lives for a tenth of a second.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import warm  # noqa: F401
from fault_workers import BLOCKS, differences, events, into_files, places, sweep_here, write_study
from faulty_calls import Fault
from faulty_calls import plant as plant_fault
from stubs import plant as plant_stubs

from olora_bench.store import sealed
from olora_bench.study import states
from olora_bench.study.open import OpenStudy, open_study

LEASE = importlib.import_module("olora_bench.store.lease")
HEARTBEAT_S, DEAD_AFTER_S = 0.1, 0.6
STUDY_LIMIT_S = 120.0


@dataclass
class Storm:
    """What happened. `problems` is empty when all held."""

    faults: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    starts: int = 0
    fenced: int = 0
    parked: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Field:
    """Where a storm takes place: a study opened once, whose results folder is emptied for each round."""

    folder: Path
    study: OpenStudy
    calls: int = 0

    @property
    def results(self) -> Path:
        return self.study.store.root


def prepared(folder: Path, grids: str = "[{init: [lora, olora], seed: [0, 1]}]") -> Field:
    """An undisturbed study's results in `folder/calm`, and how many calls its worker made."""
    write_study(folder, "storm", grids)
    results = folder / "results"
    study = open_study(folder / "storm.yaml", places(folder, results))
    study.grids()
    place = Field(folder, study)
    pid = started(place, None)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"an undisturbed study did not end well:\n{(folder / 'log').read_text()[-3000:]}")
    place.calls = int((folder / "calls").read_text())
    OpenStudy(study.file, study.store).grids()  # all runs are composed before workers are forked; nothing of the records is remembered
    results.rename(folder / "calm")
    return place


def started(place: Field, fault: Fault | None, *, retry: bool = False) -> int:
    """A worker's pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        into_files(place.folder)
        handle = os.open(place.folder / "struck", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        calls = plant_fault(fault, place.results, lambda text: os.write(handle, f"{os.getpid()} {text}\n".encode()))
        code = sweep_here(place.study, retry=retry)
        (place.folder / "calls").write_text(str(calls()))
    except SystemExit as left:
        code = int(left.code or 0)
    except Exception as error:
        from olora_bench.__main__ import EXPECTED, _message

        if isinstance(error, (*EXPECTED, OSError)):  # what the command line says in one line, with exit code 2
            print(_message(error), file=sys.stderr)
            code = 2
        else:
            import traceback

            traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def storm(place: Field, faults: int, seed: int, seen: Storm) -> None:
    """Finish studies under faults until so many have struck."""
    rng = random.Random(seed)
    goal = seen.faults.total() + faults
    while seen.faults.total() < goal and not seen.problems:
        seen.studies += 1
        for name in ("log", "events", "struck"):
            (place.folder / name).unlink(missing_ok=True)
        shutil.rmtree(place.results, ignore_errors=True)
        one_study(place, rng, seen, goal)
        said = (place.folder / "log").read_text()
        seen.fenced += said.count("another took its work there over")
        seen.parked += said.count("is given up")
        wrong = [*differences(place.folder / "calm", place.results), *doubled(place.folder)]
        wrong += ["a traceback was printed"] if "Traceback" in said else []
        seen.problems += [f"seed {seed}, study {seen.studies}: {text}" for text in wrong]


def doubled(folder: Path) -> list[str]:
    """Runs whose record was published as done more than once. A worker that stood still may begin one again; it publishes nothing."""
    done = Counter(train_id for _, train_id, event in events(folder) if event == "done")
    return [f"{train_id} was published {n} times" for train_id, n in done.items() if n > 1]


def one_study(place: Field, rng: random.Random, seen: Storm, goal: int) -> None:
    """Two to four workers at once, each with a fault, until one says that the study is done; the last one is undisturbed."""
    workers, alive, paused, retry, finished = rng.randint(2, 4), set[int](), dict[int, float](), False, False
    deadline = time.monotonic() + STUDY_LIMIT_S
    before = seen.faults.copy()
    while not finished or alive:
        while len(alive) < workers and not finished:
            calm = seen.faults.total() >= goal
            alive.add(started(place, None if calm else Fault.drawn(rng, place.calls), retry=retry))
            seen.starts += 1
        pid, status = os.waitpid(-1, os.WUNTRACED | os.WNOHANG)
        if pid == 0:
            go_on(paused)
            time.sleep(0.004)
        elif os.WIFSTOPPED(status):
            paused[pid] = time.monotonic() + rng.choice((0.05, DEAD_AFTER_S + 0.5, DEAD_AFTER_S + 1.5))
        else:
            alive.discard(pid)
            code = os.waitstatus_to_exitcode(status)
            finished = finished or code == 0
            retry = retry or code == 1
            if code not in (0, 1, 2, -signal.SIGKILL):
                seen.problems.append(f"a worker ended with {code}")
        seen.faults = before + struck(place.folder)
        if time.monotonic() > deadline:
            end(alive)
            seen.problems.append(f"the study did not end in {STUDY_LIMIT_S:.0f} s")
            return
    seen.starts += 1
    pid = started(place, None, retry=True)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        seen.problems.append(f"the last command, undisturbed, ended with {code}")


def go_on(paused: dict[int, float]) -> None:
    for pid in [pid for pid, until in paused.items() if time.monotonic() > until]:
        del paused[pid]
        os.kill(pid, signal.SIGCONT)


def end(alive: set[int]) -> None:
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def struck(folder: Path) -> Counter[str]:
    path = folder / "struck"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(" ".join(line.split()[1:3]) for line in lines)


def outcome(seen: Storm, seed: int, kind: str) -> dict[str, Any]:
    """A row of the table."""
    return {
        "training": kind, "seed": seed, "faults": dict(sorted(seen.faults.items())), "faults_in_all": seen.faults.total(),
        "studies": seen.studies, "starts": seen.starts, "stopped_by_the_fence": seen.fenced, "runs_parked": seen.parked,
        "lost_doubled_overwritten_or_left_over": len(seen.problems),
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--stub", type=int, default=450, help="faults with stub training")
    parser.add_argument("--real", type=int, default=50, help="faults with a tiny model's training")
    parser.add_argument("--blocks", type=int, default=100, help="faults with stub training in a study of searches, finalists and looks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where to write what happened, as JSON")
    options = parser.parse_args()
    LEASE.HEARTBEAT_S, LEASE.DEAD_AFTER_S, LEASE._POLL_S, states._POLL_S = HEARTBEAT_S, DEAD_AFTER_S, 0.05, 0.05
    began, rows, problems = time.monotonic(), [], []
    for kind, faults in (("real", options.real), ("stub", options.stub), ("blocks", options.blocks)):
        if not faults:
            continue
        if kind != "real":
            plant_stubs()
        with tempfile.TemporaryDirectory() as folder:
            seen = Storm()
            storm(prepared(Path(folder), *([BLOCKS] if kind == "blocks" else [])), faults, options.seed, seen)
            rows.append(outcome(seen, options.seed, kind))
            problems += seen.problems
            if seen.problems:
                print(*seen.problems, (Path(folder) / "log").read_text()[-5000:], sep="\n", flush=True)
        print(json.dumps(rows[-1], indent=1), flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    if options.table is not None and not problems:
        options.table.write_bytes(sealed({"rows": rows}))
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
