"""Kill -9 the workers of tiny studies at random moments, start them again, and compare what they leave with an undisturbed study.

    python tests/faults/kill_storm.py --kills 200

Workers are forked from a process that has imported everything, so that a start costs little and most kills hit work. Exits with 1 and says
what differs, where a finished study's records differ in anything but timings, a file is left over, or a worker trained a run twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="offline")

STUDY = """
defaults:
  - config
  - override model: tiny_tinyllama
  - override data: made_up
  - override suite: commonsense6_made_up
  - override tracker: none
  - override hydra/sweeper: study
  - _self_
hydra: {mode: MULTIRUN}
study:
  name: storm
  title: killed at random
  protocol: shared_lr
  contrasts: [{arm: olora, reference: lora, kind: primary}]
  grids: [{init: [lora, olora], seed: [0, 1, 2]}]
rank: 4
lr: 1e-3
precision: fp32
data: {benchmarks: [piqa], decontaminate: [piqa], train_size: 24, tune_size: 4, report_size: 4}
recipe: {steps: 8, batch_size: 4, loss_evaluations: 3, dropout: 0.1}
suite: {benchmarks: [piqa], limit: 4}
machine: {threads: 1, device: cpu, checkpoint_steps: 3}
"""

# What is measured in time or memory, or counts starts. All else must be the same bit for bit.
VOLATILE = {"attempts", "started_at", "finished_at", "timings_s", "tokens_per_s", "examples_per_s", "peak_bytes", "peak_above_base_bytes"}


@dataclass
class Storm:
    """What happened. `problems` is empty when all held."""

    kills: int = 0
    studies: int = 0
    starts: int = 0
    resumed: int = 0
    given_up: int = 0
    problems: list[str] = field(default_factory=list)


def storm(folder: Path, kills: int, seed: int = 0, workers: int = 1) -> Storm:
    """Finish tiny studies, each with `workers` workers at once, until `kills` kills have hit; compare each with an undisturbed one."""
    warm_up()
    (folder / "sweeps").mkdir(parents=True)
    (folder / "sweeps" / "storm.yaml").write_text(STUDY)
    rng, seen = random.Random(seed), Storm()
    calm = folder / "calm"
    for _ in range(2):  # the first time also builds the model; the second says how long a study takes
        shutil.rmtree(calm, ignore_errors=True)
        start = time.monotonic()
        assert os.waitstatus_to_exitcode(os.waitpid(start_worker(folder, calm), 0)[1]) == 0, (folder / "log").read_text()[-3000:]
        length = time.monotonic() - start
    while seen.kills < kills:
        seen.studies += 1
        results = folder / f"study{seen.studies}"
        one_study(folder, results, length, rng, seen, kills, workers)
        seen.problems += [f"study {seen.studies}: {text}" for text in (*differences(calm, results), *repeated(folder))]
        if seen.problems:
            break
        shutil.rmtree(results)
    return seen


def one_study(folder: Path, results: Path, length: float, rng: random.Random, seen: Storm, kills: int, workers: int) -> None:
    """Start workers again and again until one says that the study is done, and let the others end too."""
    (folder / "events").unlink(missing_ok=True)
    alive: set[int] = set()
    retry, finished = False, False
    for _ in range(500):
        while len(alive) < workers and not finished:
            alive.add(start_worker(folder, results, *(["hydra.sweeper.retry=true"] if retry else [])))
            seen.starts += 1
        limit = rng.uniform(0, 0.7 * length) if seen.kills < kills else 60
        ended = wait_for_one(alive, limit)
        if ended is None:
            victim = rng.choice(sorted(alive))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            alive.discard(victim)
            seen.kills += 1
            continue
        pid, code = ended
        alive.discard(pid)
        if code == 0:
            finished = True
            if not alive:
                break
        elif code == 1 and not retry:  # a run that was killed twice in a row is given up, until one asks for it again
            retry = True
            seen.given_up += 1
        elif code != 1:
            seen.problems.append(f"a worker ended with {code}: {(folder / 'log').read_text()[-3000:]}")
            break
    seen.resumed += (folder / "log").read_text().count("going on after step")
    (folder / "log").unlink()


def wait_for_one(alive: set[int], limit: float) -> tuple[int, int] | None:
    """The first worker to end by itself with its exit code, or None when the time is up."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        for pid in alive:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return pid, os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def warm_up() -> None:
    """Import all that a worker imports, once; nothing is computed, so that forking is safe."""
    import torch

    import olora_bench.__main__
    import olora_bench.data
    import olora_bench.evaluation
    import olora_bench.inits.peft
    import olora_bench.models
    import olora_bench.study.sweep
    import olora_bench.study.tables
    import olora_bench.worker  # noqa: F401
    from olora_bench.provenance import provenance

    torch.set_num_threads(1)
    provenance()


def start_worker(folder: Path, results: Path, *overrides: str) -> int:
    """Fork a worker that runs the study as the command line does; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        note_events(folder / "events")
        from olora_bench.study.__main__ import main

        places = [f"machine.results_dir={results}", f"machine.cache_dir={folder / 'cache'}", f"machine.wandb_dir={folder / 'wandb'}"]
        main(["run", str(folder / "sweeps" / "storm.yaml"), *places, *overrides])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def note_events(path: Path) -> None:
    """Write a line for each training that begins and each record that says done, with the worker's pid."""
    from olora_bench import training
    from olora_bench.store import RunRecord, Store

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    train, write_run = training.train, Store.write_run

    def noted_train(*args: Any, checkpoints: training.Checkpoints, **rest: Any) -> Any:
        os.write(handle, f"{os.getpid()} {checkpoints.owner} train\n".encode())
        return train(*args, checkpoints=checkpoints, **rest)

    def noted_write(store: Store, record: RunRecord) -> None:
        write_run(store, record)
        if record.status == "done":
            os.write(handle, f"{os.getpid()} {record.train_id} done\n".encode())

    training.train, Store.write_run = noted_train, noted_write  # type: ignore[assignment, method-assign]


def repeated(folder: Path) -> Iterator[str]:
    """Runs that one worker began twice, or that were trained after they were done."""
    done: set[str] = set()
    begun: Counter[tuple[str, str]] = Counter()
    for line in (folder / "events").read_text().splitlines():
        pid, train_id, event = line.split()
        if event == "done":
            done.add(train_id)
        else:
            begun[pid, train_id] += 1
            if train_id in done:
                yield f"{train_id} was trained by {pid} after it was done"
    yield from (f"{train_id} was begun {n} times by {pid}" for (pid, train_id), n in begun.items() if n > 1)


def differences(calm: Path, results: Path) -> Iterator[str]:
    """What two results folders differ in, timings aside."""
    import pandas as pd

    left, right = (
        {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()} for root in (calm, results)
    )
    yield from (f"{name} is left over" for name in right.keys() - left.keys())
    yield from (f"{name} is missing" for name in left.keys() - right.keys())
    for name in sorted(left.keys() & right.keys()):
        one, other = left[name], right[name]
        if name.endswith("record.json"):
            same = settled(one, calm) == settled(other, results)
        elif name.endswith(".parquet"):
            frames = [pd.read_parquet(path).drop(columns="wall_s", errors="ignore") for path in (one, other)]
            same = frames[0].equals(frames[1])
        elif "/report/" in name:
            continue  # times and paths; made of the records
        else:
            same = one.read_bytes() == other.read_bytes()
        if not same:
            yield f"{name} differs"


def settled(path: Path, root: Path) -> Any:
    """A record without what may differ."""
    record = json.loads(path.read_text().replace(str(root), "RESULTS"))
    record["init"] = {key: value for key, value in record.get("init", {}).items() if key != "seconds"}
    return {key: value for key, value in record.items() if key not in VOLATILE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = storm(Path(folder), options.kills, options.seed, options.workers)
    print(
        f"{seen.kills} kills in {seen.starts} starts over {seen.studies} studies of 6 runs, {time.monotonic() - start:.0f} s: "
        f"{seen.resumed} trainings went on from a checkpoint, {seen.given_up} studies gave up a run and were retried"
    )
    for problem in seen.problems:
        print(problem)
    raise SystemExit(1 if seen.problems else 0)


if __name__ == "__main__":
    main()
