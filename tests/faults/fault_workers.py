"""Workers to be killed: forked from a server process that has imported everything, each runs a study as the command line does."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")

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
rank: 4
lr: 1e-3
precision: fp32
data: {benchmarks: [piqa], decontaminate: [piqa], train_size: 24, tune_size: 4, report_size: 4}
recipe: {steps: 8, batch_size: 4, loss_evaluations: 3, dropout: 0.1}
suite: {benchmarks: [piqa], limit: 4}
machine: {threads: 1, device: cpu, checkpoint_share: 1}
"""

# What is measured in time or memory, or counts starts. All else of a record must be the same bit for bit.
VOLATILE = {
    "digest",
    "seconds",
    "attempts",
    "started_at",
    "finished_at",
    "timings_s",
    "tokens_per_s",
    "examples_per_s",
    "supervised_tokens_per_s",
    "matmul_flops_per_s",
    "flops_utilisation",
    "peak_bytes",
    "peak_above_base_bytes",
}


def warm_server() -> None:
    """Start the server that workers are forked from, once. It looks for what it is to import in PYTHONPATH alone."""
    CONTEXT.set_forkserver_preload(["warm"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


BLOCKS = """[{init: [lora, olora]}]
  tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], max_extensions: 1, refinement: parabola, finalists: 3}
  seeds: {looks: [1, 2]}
"""
"""Grids of a study that searches, trains blocks of finalists and looks twice."""


def write_study(folder: Path, name: str, grids: str) -> None:
    """A tiny study's file in `folder`; `grids` is YAML."""
    node = f"""
    study:
      name: {name}
      title: killed, broken, spread out
      protocol: {"tuned" if "tuning" in grids else "shared_lr"}
      contrasts: [{{arm: olora, reference: lora, kind: primary}}]
    """
    node = textwrap.dedent(node) + f"  grids: {grids}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(STUDY + node)


def places(folder: Path, results: Path) -> list[str]:
    """Overrides that keep a worker inside `folder`."""
    return [f"machine.results_dir={results}", f"machine.cache_dir={folder / 'cache'}", f"machine.wandb_dir={folder / 'wandb'}"]


def start(folder: Path, name: str, results: Path, *overrides: str, plant: Callable[[], None] | None = None) -> ForkServerProcess:
    """Start a worker on `folder/<name>.yaml`. What it says goes to `folder/log`, what it begins and ends to `folder/events`.

    Args:
        plant: called in the worker first, to plant a fault; a function of a module that can be imported.
    """
    arguments = ["run", str(folder / f"{name}.yaml"), *places(folder, results), *overrides]
    warm_server()
    process = CONTEXT.Process(target=work, args=(folder, arguments, plant))
    process.start()
    return process


def start_directly(folder: Path, name: str, results: Path, *overrides: str, plant: Callable[[], None] | None = None) -> ForkServerProcess:
    """As `start`, but without a report, and without Hydra between sweep and run, which composes each run again."""
    warm_server()
    process = CONTEXT.Process(target=work_directly, args=(folder, name, [*places(folder, results), *overrides], plant))
    process.start()
    return process


def finish(process: ForkServerProcess, timeout: float = 120) -> int:
    """Wait for a worker; its exit code, negative for a signal's number."""
    process.join(timeout)
    assert process.exitcode is not None, "it does not end"
    return process.exitcode


def work(folder: Path, arguments: list[str], plant: Callable[[], None] | None) -> None:
    """The worker itself."""
    into_files(folder)
    assert "warm" in sys.modules, "the server that this was forked from has imported nothing"
    if plant is not None:
        plant()
    from olora_bench.study.__main__ import main

    main(arguments)


def work_directly(folder: Path, name: str, overrides: list[str], plant: Callable[[], None] | None) -> None:
    """A worker whose launcher runs each job of the sweep where it is."""
    into_files(folder)
    assert "warm" in sys.modules, "the server that this was forked from has imported nothing"
    if plant is not None:
        plant()
    from olora_bench.study.open import open_study

    study = open_study(folder / f"{name}.yaml", [line for line in overrides if not line.startswith("hydra.")])
    sys.exit(sweep_here(study, retry="hydra.sweeper.retry=true" in overrides))


def sweep_here(study: Any, *, retry: bool = False) -> int:
    """Sweep an open study in this process; the exit code of the command line."""
    from olora_bench.__main__ import EXPECTED, _message
    from olora_bench.process.progress import say
    from olora_bench.run.experiment import run
    from olora_bench.run.finalists import run_finalists
    from olora_bench.study.sweep import sweep_study

    class Here:
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
            known = {(*study.file.overrides, *job.launch.overrides): job.launch.experiment for job in study.grids().jobs}
            for lines in job_overrides:
                experiment = known[tuple(lines)]
                try:
                    (run if experiment.finalists is None else run_finalists)(experiment, study=study.name)
                except (*EXPECTED, OSError) as error:  # a study goes on after it
                    say(_message(error))

    found = sweep_study(study, Here(), study.file.overrides, retry=retry)
    for one in found:
        if one.state != "done":
            say(f"{one.job.what.train_id} {one.state}: {one.reason}")
    return 0 if all(one.state == "done" for one in found) else 1


def into_files(folder: Path) -> None:
    """What this process says goes to `log`, what it begins and ends to `events`."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    note_events(folder / "events")


def note_events(path: Path) -> None:
    """Write a line for each training that begins and each record that says done, with the worker's pid."""
    from olora_bench import training
    from olora_bench.store import Lease, RunRecord, Store

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    train, write_run = training.train, Store.write_run

    def noted_train(*args: Any, checkpoints: training.Checkpoints, **rest: Any) -> Any:
        os.write(handle, f"{os.getpid()} {checkpoints.owner} train\n".encode())
        return train(*args, checkpoints=checkpoints, **rest)

    def noted_write(store: Store, record: RunRecord, held: Lease | None = None) -> None:
        write_run(store, record, held)
        if record.status == "done":
            os.write(handle, f"{os.getpid()} {record.train_id} done\n".encode())

    training.train, Store.write_run = noted_train, noted_write  # type: ignore[assignment, method-assign]


def events(folder: Path) -> list[tuple[int, str, str]]:
    """(pid, train_id, `train` or `done`) of all workers, in order."""
    path = folder / "events"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), train_id, event) for pid, train_id, event in map(str.split, lines)]


def repeated(folder: Path) -> Iterator[str]:
    """Runs that one worker began twice, or that were trained after they were done."""
    done: set[str] = set()
    begun: Counter[tuple[int, str]] = Counter()
    for pid, train_id, event in events(folder):
        if event == "done":
            done.add(train_id)
        else:
            begun[pid, train_id] += 1
            if train_id in done:
                yield f"{train_id} was trained by {pid} after it was done"
    yield from (f"{train_id} was begun {n} times by {pid}" for (pid, train_id), n in begun.items() if n > 1)


def differences(calm: Path, results: Path) -> Iterator[str]:
    """What two results folders differ in, timings aside; parts are told apart without the tokens in their names."""
    import pandas as pd

    left, right = files_by_plain_name(calm), files_by_plain_name(results)
    yield from (f"{', '.join(path.name for path in paths)} lie there for {name}" for name, paths in right.items() if len(paths) > 1)
    yield from (f"{name} is left over" for name in right.keys() - left.keys())
    yield from (f"{name} is missing" for name in left.keys() - right.keys())
    for name in sorted(left.keys() & right.keys()):
        one, other = left[name][0], right[name][0]
        if "/report/" in name:
            continue  # times and paths; made of the records
        if name.endswith("record.json"):
            same = settled(one, calm) == settled(other, results)
        elif name.endswith(".parquet"):
            frames = [pd.read_parquet(path).drop(columns="wall_s", errors="ignore") for path in (one, other)]
            same = frames[0].equals(frames[1])
        else:
            same = one.read_bytes() == other.read_bytes()
        if not same:
            yield f"{name} differs"


def files_by_plain_name(root: Path) -> dict[str, list[Path]]:
    """The files below a results folder, by their paths without tokens."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        found.setdefault(re.sub(r"\.[0-9a-f]{12}(?=\.(?:parquet|safetensors)$)", "", path.relative_to(root).as_posix()), []).append(path)
    return found


def settled(path: Path, root: Path) -> Any:
    """A record without what may differ; its parts are those that lie beside it."""
    record = json.loads(path.read_text().replace(str(root), "RESULTS"))
    record["config"].pop("machine", None)  # folders, threads, how often to checkpoint: no part of what a run is
    for kind, part in record["parts"].items():
        content = (path.parent / part["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == part["sha256"], (path, kind)
        record["parts"][kind] = part["sha256"] if kind != "curve" else None  # a curve has times in it
    return without_timings(record)


def without_timings(value: Any) -> Any:
    """JSON without what is measured in time or memory, or counts starts, at any depth."""
    if isinstance(value, dict):
        return {key: without_timings(inner) for key, inner in value.items() if key not in VOLATILE}
    return value
