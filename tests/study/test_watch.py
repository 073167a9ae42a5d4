"""The page of a study while it runs, fetched over HTTP: what it shows, what it refuses, and that it only reads."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from planting import MakeStudy, PlantRun
from safetensors.numpy import save_file

from olora_bench.errors import BadInput
from olora_bench.process.progress import TOLD_BY_SWEEP, Progress
from olora_bench.study.__main__ import main as study_main
from olora_bench.study.jobs import Job
from olora_bench.study.live import Live, worker_line, workers_told
from olora_bench.study.manifest import write_manifest
from olora_bench.study.open import OpenStudy
from olora_bench.study.status import status_text
from olora_bench.study.watch import server
from tests.study_text import TWO_ARMS

LOOKS = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
seeds: {first: 0, looks: [6, 12]}
"""


def checkpoint(opened: OpenStudy, job: Job, losses: list[float]) -> None:
    """The head of one as a training writes it, `training.checkpoint`, with no tensor of a model."""
    rows = [
        {"step": n, "tokens": n, "wall_s": 2.0 * n, "train_loss": loss if n else None, "tune_loss": None, "report_loss": loss, "lr": 1e-3}
        for n, loss in enumerate(losses)
    ]
    state = {"format": 2, "owner": job.what.train_id, "step": len(rows) - 1, "log": {"rows": rows, "metrics": {}, "totals": {}}}
    path = opened.store.checkpoint_path(job.what.train_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"x": np.zeros(1, dtype=np.float32)}, path, {"state": json.dumps(state), "digest": ""})


@contextmanager
def serving(opened: OpenStudy, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    with server(str(opened.file.path), opened.file.overrides, port) as serves:
        thread = threading.Thread(target=serves.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield serves
        finally:
            serves.shutdown()
            thread.join()


def ask(serves: ThreadingHTTPServer, path: str = "/", method: str = "GET", host: str | None = None) -> tuple[int, str]:
    port = int(serves.server_address[1])
    line = HTTPConnection("127.0.0.1", port, timeout=60)
    line.putrequest(method, path, skip_host=True)
    line.putheader("Host", host or f"127.0.0.1:{port}")
    line.endheaders()
    answer = line.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def half(study: MakeStudy, plant_run: PlantRun) -> Iterator[OpenStudy]:
    """LoRA is done; OLoRA is in this process's hands, three steps far."""
    opened = study(TWO_ARMS)
    grids = opened.grids()
    done, runs = grids.jobs
    plant_run(done.what, 1.25, metrics={"tune_loss": 1.25, "report_loss": 1.5})
    write_manifest(opened.home, grids)
    with opened.store.hold(opened.store.run_dir(runs.what.train_id)):
        checkpoint(opened, runs, [4.0, 3.5, 3.25, 3.125])
        yield opened


def test_the_page_says_what_is_done_who_is_at_work_and_how_far(half: OpenStudy) -> None:
    with serving(half) as serves:
        status, page = ask(serves)
    assert status == 200
    assert "<li>1 of 2 runs done</li><li>1 running</li>" in page
    assert "training · step 3 of 6 · train loss 3.125 · about 6.0s of training left" in page
    assert f"process {os.getpid()} on {socket.gethostname()}" in page
    assert '<polyline class="curve arm1" points=' in page and "Held-out loss over steps; running now: tiny_tinyllama olora r4" in page
    assert "Its one look is asked whether olora and lora differ; 1 of its 2 runs are still to come." in page
    assert "Too few: 1 blocks (model, seed): a verdict takes 6." in page


def test_a_terminal_gets_one_line_a_worker(half: OpenStudy) -> None:
    lines = [worker_line(run) for run in Live(str(half.file.path), half.file.overrides).watched().runs if run.state == "running"]
    (line,) = lines
    where = f"process {os.getpid()} on {socket.gethostname()}"
    assert line.startswith(f"tiny_tinyllama olora r4 lr 3e-4 seed 0: training, step 3 of 6, loss 3.125 ({where}, for ")


def test_while_workers_share_a_terminal_it_has_a_line_for_each(half: OpenStudy, capsys: pytest.CaptureFixture[str]) -> None:
    """And none of what each would say on its way: the sweep's processes inherit that."""
    with workers_told(half, every_s=0.01):
        with Progress("train", 2, every_s=0) as progress:
            progress.advance()
        deadline = time.monotonic() + 30
        said = ""
        while "training, step 3 of 6" not in said and time.monotonic() < deadline:
            said += capsys.readouterr().err
    assert "tiny_tinyllama olora r4 lr 3e-4 seed 0: training, step 3 of 6, loss 3.125 (process " in said
    assert "train: 1 of 2" not in said and TOLD_BY_SWEEP not in os.environ


def test_losses_come_while_the_page_is_asked_again(half: OpenStudy) -> None:
    live, runs = Live(str(half.file.path), half.file.overrides), half.grids().jobs[1]
    assert [run.curve["train"][1][-1] for run in live.watched().runs if run.state == "running"] == [3.125]
    checkpoint(half, runs, [4.0, 3.5, 3.25, 3.125, 3.0])
    assert [run.curve["train"][1][-1] for run in live.watched().runs if run.state == "running"] == [3.0]


def test_a_run_that_ends_is_done_at_the_next_look(half: OpenStudy, plant_run: PlantRun) -> None:
    live = Live(str(half.file.path), half.file.overrides)
    live.watched()
    plant_run(half.grids().jobs[1].what, None)
    assert [(run.state, run.loss) for run in live.watched().runs] == [("done", 1.5), ("diverged", None)]


def test_a_study_whose_process_is_gone_shows_no_time_that_stands_still(study: MakeStudy, plant_run: PlantRun) -> None:
    """On the page and in a terminal, from the moment that its lease is nobody's: killed, it left a checkpoint."""
    opened = study(TWO_ARMS)
    done, runs = opened.grids().jobs
    plant_run(done.what, 1.25)
    write_manifest(opened.home, opened.grids())
    live = Live(str(opened.file.path), opened.file.overrides)
    with opened.store.hold(opened.store.run_dir(runs.what.train_id)):
        checkpoint(opened, runs, [4.0, 3.5])
        assert re.fullmatch(r"about .+ left", live.watched().left)
        assert " none is at work" not in status_text(str(opened.file.path), opened.file.overrides)[0]
    assert re.fullmatch(r"no process is at work; the rest takes one about [\d.]+\S+", live.watched().left)
    told = status_text(str(opened.file.path), opened.file.overrides)[0]
    assert re.search(r"^time left     [\d.]+\S+ by one process; none is at work now \(", told, re.MULTILINE)


def test_the_next_look_is_named_with_what_it_asks(study: MakeStudy, plant_run: PlantRun) -> None:
    opened = study(LOOKS)
    for job in opened.grids().jobs[:5]:
        plant_run(job.what, 1.0)
    said = Live(str(opened.file.path), opened.file.overrides).watched().look
    assert said[0] == "Look 1 of 2, at 6 seeds a model is asked whether olora and lora differ; 7 of its 12 runs are still to come."
    assert said[1].startswith("Power: four times in five from ") and said[1].endswith("; one contrast.")
    assert said[2].startswith("Variances: assumed: ")


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/report/",
        "/report/../README.md",
        "/index.html",
        "/?x",
        "http://x/",
    ],
)
def test_a_request_names_one_of_two_pages_and_no_file(half: OpenStudy, path: str) -> None:
    with serving(half) as serves:
        assert ask(serves, path)[0] == 404


def test_a_page_of_the_internet_cannot_ask_by_a_name_of_its_own(half: OpenStudy) -> None:
    with serving(half) as serves:
        assert serves.server_address[0] == "127.0.0.1"
        assert ask(serves, host="evil.example:80")[0] == 403
        assert ask(serves, host=f"localhost:{serves.server_address[1]}")[0] == 200
        assert ask(serves, method="POST")[0] == 501
        assert ask(serves, method="HEAD") == (200, "")


def test_watching_writes_nothing(half: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def tree() -> dict[Path, tuple[int, int]]:
        beats = ("lease.json",)  # the run's own
        found = (path for path in half.store.root.rglob("*") if path.name not in beats)
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    before = tree()
    with serving(half) as serves:
        assert ask(serves)[0] == ask(serves, "/report")[0] == 200
    assert tree() == before


def test_the_report_of_what_is_recorded_so_far_is_made_and_not_kept(half: OpenStudy) -> None:
    with serving(half) as serves:
        page = ask(serves, "/report")[1]
    assert "<h1>a study</h1>" in page and '<section id="verdict"' in page
    assert not (half.store.root / half.name / "report").exists()


def test_the_report_before_the_first_run_says_so(study: MakeStudy) -> None:
    opened = study(TWO_ARMS)
    with serving(opened) as serves:
        page = ask(serves, "/report")[1]
    command = f"python -m olora_bench.study run {opened.file.path} machine.results_dir={opened.store.root}"
    assert f"study throwaway has not been run in {opened.store.root}: {command}" in page


def test_a_study_that_is_damaged_meanwhile_ends_no_watch(half: OpenStudy) -> None:
    """A restart of the watch on its port shows the same; so does one of the sweep, whose records these are."""
    text = half.file.path.read_text()
    with serving(half) as serves:
        port = int(serves.server_address[1])
        assert "1 of 2 runs done" in ask(serves)[1]
    with serving(half, port) as serves:
        half.file.path.write_text(text.replace("primary", "foremost"))
        status, page = ask(serves)
        assert status == 200 and "This study cannot be read now" in page and "foremost" in page
    half.file.path.write_text(text)
    with serving(half, port) as serves:
        assert "1 of 2 runs done" in ask(serves)[1]


def test_what_records_hold_is_text(half: OpenStudy, plant_run: PlantRun) -> None:
    with serving(half) as serves:
        plant_run(half.grids().jobs[0].what, '<script>alert(1)</script> & "more"')
        page = ask(serves)[1]
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;" in page
    assert "default-src &#x27;none&#x27;" in page


def test_a_port_that_is_taken_is_said(half: OpenStudy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BadInput) as refused:
            server(str(half.file.path), half.file.overrides, port)
    assert str(refused.value) == (
        f"--port {port}: Address already in use. Allowed: a port that nothing else listens on, or 0 for a free one. "
        "Another watch may run already: open its page, or give this one another port"
    )


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5"])
def test_a_port_is_a_whole_number(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        study_main(["watch", "demo", f"--port={port}"])
    assert ended.value.code == 2
    said = f"study watch: error: argument --port: {port} is not allowed: a whole number from 0 (a free port) to 65535\n"
    assert capsys.readouterr().err.endswith(said)


def test_watching_needs_no_torch(half: OpenStudy) -> None:
    code = (
        "import sys; from olora_bench.study.live import Live; from olora_bench.study.watch import Pages\n"
        f"page = Pages({str(half.file.path)!r}, {list(half.file.overrides)!r}).live()\n"
        "print(b'1 of 2 runs done' in page, [m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True []\n", done.stderr
