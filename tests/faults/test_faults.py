"""What a study comes to when its workers are killed, broken, preempted or two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fault_workers import differences, events, finish, start, start_directly, write_study
from kill_storm import kill_workers
from plants import hear_ctrl_c, raise_at_seed_1_die_at_seed_2, short_leases, small_files_only, stand_still_after_training

from olora_bench.store import Store, lease, read_lease, sealed

# Workers share one cache and one undisturbed study.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two runs, undisturbed; its results."""
    folder = tmp_path_factory.mktemp("calm")
    write_study(folder, "two", "[{init: [lora, olora]}]")
    assert finish(start_directly(folder, "two", folder / "results")) == 0, (folder / "log").read_text()
    return folder / "results"


@pytest.fixture
def folder(calm: Path, tmp_path: Path) -> Path:
    """A folder with the same study, and the generated model in its cache."""
    (tmp_path / "cache").symlink_to(calm.parent / "cache")
    write_study(tmp_path, "two", "[{init: [lora, olora]}]")
    return tmp_path


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def said(folder: Path) -> str:
    return (folder / "log").read_text()


STORM = Path(__file__).with_name("storm.py")


def stormy(*options: str) -> str:
    done = subprocess.run([sys.executable, STORM, *options], capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout


def test_a_share_of_the_storm_leaves_no_trace() -> None:
    """Faults among two to four workers: nothing is lost, doubled, overwritten or left over. The whole: `make storm`."""
    assert '"lost_doubled_overwritten_or_left_over": 0' in stormy("--stub", "30", "--real", "0", "--blocks", "0", "--seed", "1")


@pytest.mark.slow
def test_a_storm_over_searches_finalists_and_looks_leaves_no_trace() -> None:
    """Between any two steps, several workers: the same runs are kept, scored and listed. Kills alone: `tests/study/test_blocks.py`."""
    assert '"lost_doubled_overwritten_or_left_over": 0' in stormy("--stub", "0", "--real", "0", "--blocks", "20", "--seed", "3")


@pytest.mark.slow
def test_a_share_of_the_storm_with_real_training_leaves_no_trace() -> None:
    assert '"lost_doubled_overwritten_or_left_over": 0' in stormy("--stub", "0", "--real", "10", "--blocks", "0", "--seed", "2")


@pytest.mark.slow
def test_kills_on_the_road_of_the_command_line(tmp_path: Path) -> None:
    """Kill -9 at random moments, with Hydra and the report, which the storm leaves out."""
    seen = kill_workers(tmp_path, 10, seed=3)
    assert seen.problems == [] and seen.kills == 10


def damage(path: Path) -> None:
    """Flip one bit; size and time stay."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_damage_is_named_and_retry_restores_it(folder: Path, calm: Path) -> None:
    """A bit in items, a record and an adapter: `run` says what it cannot read, exits with 1 and changes nothing."""
    results = folder / "results"
    shutil.copytree(calm, results)
    one, other = sorted((results / "runs").iterdir())
    items, adapter = next(one.glob("evals/*/items.*")), next(other.glob("adapter.*"))
    for path in (items, adapter, one / "record.json"):
        damage(path)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert finish(start_directly(folder, "two", results)) == 1
    assert f"unreadable: {one}/record.json: " in said(folder)
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    assert finish(start_directly(folder, "two", results, "hydra.sweeper.retry=true")) == 0, said(folder)
    for path in (items, adapter, one / "record.json"):
        assert f"{path} is damaged; it is set aside as {path.name}.damaged and computed again" in said(folder)
    for path in results.rglob("*.damaged"):
        path.unlink()
    assert list(differences(calm, results)) == []


def test_what_is_moved_away_is_computed_again(folder: Path, calm: Path) -> None:
    """A curve of one run, the items of the other, without being asked to retry."""
    shutil.copytree(calm, folder / "results")
    one, other = sorted((folder / "results" / "runs").iterdir())
    next(one.glob("curve.*")).unlink()
    next(other.glob("evals/*/items.*")).unlink()
    assert finish(start_directly(folder, "two", folder / "results")) == 0, said(folder)
    assert list(differences(calm, folder / "results")) == []


def test_sigterm_saves_and_the_same_command_goes_on(folder: Path, calm: Path) -> None:
    """Exit code 143; a checkpoint, a record that says running and no lease are left; then the study ends as an undisturbed one."""
    worker = start_directly(folder, "two", folder / "results", "machine.checkpoint_share=null")
    wait_for(lambda: bool(events(folder)))
    worker.terminate()
    assert finish(worker) == 143
    run = next((folder / "results" / "runs").iterdir())
    assert {path.name for path in run.iterdir()} == {"record.json", "checkpoint.safetensors"}
    assert json.loads((run / "record.json").read_text())["status"] == "running"
    assert "asked to stop: saved at step" in said(folder)
    assert finish(start_directly(folder, "two", folder / "results")) == 0
    assert "train: going on after step" in said(folder)
    assert list(differences(calm, folder / "results")) == []


def test_ctrl_c_saves_too_and_leaves_no_traceback(folder: Path, calm: Path) -> None:
    """On the command line's road: exit code 130, one sentence, a checkpoint; then the study ends as an undisturbed one."""
    # A shell has its background jobs ignore SIGINT, and this test may run in one: a worker at a terminal does not.
    worker = start(folder, "two", folder / "results", "machine.checkpoint_share=null", plant=hear_ctrl_c)
    wait_for(lambda: bool(events(folder)))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert finish(worker) == 130, said(folder)
    run = next((folder / "results" / "runs").iterdir())
    assert {path.name for path in run.iterdir()} == {"record.json", "checkpoint.safetensors"}
    assert "asked to stop: saved at step" in said(folder) and "interrupted by Ctrl-C" in said(folder)
    assert "Traceback" not in said(folder)
    assert finish(start_directly(folder, "two", folder / "results")) == 0
    assert "train: going on after step" in said(folder)
    assert list(differences(calm, folder / "results")) == []


def test_one_raises_one_is_killed_one_diverges(folder: Path) -> None:
    """Ten runs: seven are done, three are shown with their reasons, the exit code is 1, and the report marks the gaps."""
    write_study(folder, "ten", "[{init: [lora, olora], seed: [0, 1, 2, 3]}, {init: lora, seed: 4}, {init: lora, seed: 5, lr: 1e38}]")
    codes = [
        finish(begin(folder, "ten", folder / "results", plant=raise_at_seed_1_die_at_seed_2)) for begin in [start_directly] * 5 + [start]
    ]
    assert codes == [-9] * 5 + [1], said(folder)[-3000:]
    records = {(r.arm, r.config["seed"]): r for r in Store(folder / "results").iter_runs()}  # type: ignore[union-attr]
    assert Counter(r.status for r in records.values()) == {"done": 7, "failed": 2, "diverged": 1}
    assert records["lora", 1].error.startswith("ZeroDivisionError: planted")
    assert records["lora", 2].error.startswith("its process died 5 times in a row without a word (killed from outside, out of memory")
    assert records["lora", 2].attempts == 5
    assert "loss is nan after step" in records["lora", 5].error
    report = (folder / "results" / "ten" / "report" / "report.md").read_text()
    for seed, state in (
        (1, "failed: ZeroDivisionError: planted"),
        (2, "failed: its process died 5 times"),
        (5, "diverged: "),
    ):
        assert f"{records['lora', seed].train_id} {state}" in report
    assert finish(start_directly(folder, "ten", folder / "results", "hydra.sweeper.retry=true")) == 1, (
        "asked to, all but the diverged are done"
    )
    assert Counter(r.status for r in Store(folder / "results").iter_runs()) == {"done": 9, "diverged": 1}  # type: ignore[union-attr]


def test_a_disk_that_fills_up(folder: Path, calm: Path) -> None:
    """No run is called failed or done, no half file is left, the reason is said; with space again the same command goes on."""
    process = start_directly(folder, "two", folder / "results", plant=small_files_only)
    assert finish(process) == 1
    assert "safetensors: File too large" in said(folder)
    assert {json.loads(p.read_text())["status"] for p in (folder / "results" / "runs").glob("*/record.json")} == {"running"}
    names = {path.name for path in (folder / "results" / "runs").rglob("*") if path.is_file()}
    assert names == {"record.json"}
    assert finish(start_directly(folder, "two", folder / "results")) == 0


def test_a_corrupt_record_stops_nothing_and_is_left_alone(folder: Path, calm: Path) -> None:
    """The other run is done; the file is named with what is wrong; the exit code is 1. Moved away, the run is done again."""
    train_ids = sorted(path.name for path in (calm / "runs").iterdir())
    broken = folder / "results" / "runs" / train_ids[0] / "record.json"
    broken.parent.mkdir(parents=True)
    broken.write_bytes((calm / "runs" / train_ids[0] / "record.json").read_bytes()[:100])
    assert finish(start_directly(folder, "two", folder / "results")) == 1
    assert f"{broken}: truncated after 100 bytes" in said(folder)
    assert len(broken.read_bytes()) == 100
    assert Store(folder / "results").state(train_ids[1]) == "done"
    broken.unlink()
    assert finish(start_directly(folder, "two", folder / "results")) == 0


def test_a_vanished_host_is_replaced_once_its_heartbeat_is_old(folder: Path, calm: Path) -> None:
    """Another host's leases, the last heartbeats 45 s ago: its runs are left to it, and taken over when the 60 s are over."""
    old = time.time() - 45
    for train_id in (path.name for path in (calm / "runs").iterdir()):
        run = folder / "results" / "runs" / train_id
        with lease(run):
            fields = json.loads((run / "lease.json").read_text())
        run.mkdir(parents=True)  # a lease takes the folder that it made away with it
        (run / "lease.json").write_bytes(sealed(fields | {"host": "elsewhere", "pid": 1, "pid_space": "another machine"}))
        os.utime(run / "lease.json", (old, old))
    assert finish(start_directly(folder, "two", folder / "results")) == 0
    assert time.time() - old >= 60
    assert f"{run.name} (process 1 on elsewhere since" in said(folder)
    assert list(differences(calm, folder / "results")) == []


def test_a_live_lease_on_this_host(calm: Path, tmp_path: Path, cli: Callable[..., CompletedProcess[str]]) -> None:
    """The same run asked for while another process is at work on it: exit code 2, and who that is."""
    record = json.loads(next((calm / "runs").glob("*/record.json")).read_text())
    results = tmp_path / "results"
    with lease(results / "runs" / record["train_id"]):
        holder = read_lease(results / "runs" / record["train_id"])
        assert holder is not None
        done = cli(
            "--config-dir", str(calm.parent), "--config-name", "two", "hydra.mode=RUN", f"init={record['arm']}",
            f"machine.results_dir={results}", f"machine.cache_dir={tmp_path / 'cache'}",
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    who = f"process {os.getpid()} on {holder.host} since {holder.since}"
    message = f"{results / 'runs' / record['train_id']} is being worked on by {who} (last heartbeat "
    assert done.stderr.strip().splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr


def test_a_worker_that_wakes_up_after_its_lease_says_so_and_overwrites_nothing(folder: Path, calm: Path) -> None:
    """It stood still with a trained adapter in its hands while another finished both runs; it goes on with the study and ends well."""
    sleeper = start_directly(folder, "two", folder / "results", plant=stand_still_after_training)
    assert sleeper.pid is not None
    wait_for(lambda: Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert finish(start_directly(folder, "two", folder / "results", plant=short_leases)) == 0, said(folder)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in (folder / "results" / "runs").rglob("*") if path.is_file()}
    os.kill(sleeper.pid, signal.SIGCONT)
    assert finish(sleeper) == 0
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in (folder / "results" / "runs").rglob("*") if path.is_file()} == before
    assert said(folder).count("this process did not answer for more than 1 s, and another took its work there over") == 1
    assert list(differences(calm, folder / "results")) == []


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["both live", "one killed"])
def test_two_workers_on_forty_runs(folder: Path, kill: bool) -> None:
    """Started at once: every run once, and both end when all is done. One killed: the other takes its run over at once, on this host."""
    grid = "[{init: [lora, olora], seed: [" + ", ".join(map(str, range(20))) + "], recipe.steps: 3}]"
    write_study(folder, "forty", grid)
    workers = [start_directly(folder, "forty", folder / "results") for _ in range(2)]
    killed: list[str] = []
    if kill:
        wait_for(lambda: Counter(pid for pid, _, event in events(folder) if event == "train")[workers[0].pid] >= 5)
        workers[0].kill()
        assert finish(workers.pop(0)) == -9
        killed = [path.parent.name for path in (folder / "results" / "runs").glob("*/lease.json")]
    assert [finish(worker) for worker in workers] == [0] * len(workers), said(folder)[-3000:]
    done = Counter(train_id for _, train_id, event in events(folder) if event == "done")
    begun = Counter(train_id for _, train_id, event in events(folder) if event == "train")
    assert len(done) == 40 and set(done.values()) == {1}
    assert all(n == 1 or (n == 2 and train_id in killed) for train_id, n in begun.items())
    assert kill or len({pid for pid, _, _ in events(folder)}) == 2
    assert not [path for path in (folder / "results").rglob("*") if path.name.startswith(("lease", ".", "checkpoint"))]
