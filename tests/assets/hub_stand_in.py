"""A Hub on this machine's loopback: the HTTP that huggingface.co and its file host speak, with the faults that a network has.

As the Hub does: large files are sent on (302) to another host under a signed address, small ones (307, relative) to a cache of the Hub's;
both answers carry commit, digest and size. A gated repository tells its name and its list of files to all, and no file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

LARGE = (".safetensors", ".parquet", ".bin", ".model", ".gguf", ".h5", ".msgpack")
TOKEN = "hf_of_a_user_with_access"


@dataclass
class Repository:
    """`files`: name -> bytes. `gated`: whoever has not `TOKEN` gets no file."""

    commit: str
    files: dict[str, bytes]
    gated: bool = False


@dataclass
class Fault:
    """What happens to requests whose path contains `where`, `times` times: another answer, silence, a cut, other bytes.

    Attributes:
        status: answered instead, with `headers`; None leaves the answer.
        cut_after: the connection breaks after so many bytes of the body.
        flip: the body's first byte is another one.
        silence_s: nothing is said for so long.
    """

    where: str
    times: int = 10**9
    method: str = "GET"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    flip: bool = False
    silence_s: float = 0.0


class Hub:
    """Serves `repositories`: `org/name` -> model, `datasets/org/name` -> data set. `moved`: an old name -> the present one.

    `asked` lists method and path of every request, `sent` the bytes of every file that left, `tokens` the logins that each host saw.
    """

    def __init__(self, repositories: dict[str, Repository]) -> None:
        self.repositories, self.moved = repositories, dict[str, str]()
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.sent: dict[str, int] = {}
        self.tokens: dict[str, set[str | None]] = {"hub": set(), "cdn": set()}
        self.ranges = True  # whether parts of a file are served
        self._lock = threading.Lock()
        self._servers = [_serve(self, _HubHandler), _serve(self, _FileHandler)]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def close(self) -> None:
        """Go away: connections are refused from here on."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted."""
        with self._lock:
            for fault in self.faults:
                if fault.times and fault.where in path and fault.method in (method, "ANY"):
                    fault.times -= 1
                    return fault
        return None

    def count(self, name: str, length: int) -> None:
        """Note bytes of a file that left."""
        with self._lock:
            self.sent[name] = self.sent.get(name, 0) + length

    def blob(self, digest: str) -> tuple[str, bytes]:
        """A large file's name and bytes."""
        return next((n, d) for r in self.repositories.values() for n, d in r.files.items() if sha256(d) == digest)


@contextlib.contextmanager
def serving(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """A Hub for as long as the block lasts."""
    hub = Hub(repositories)
    try:
        yield hub
    finally:
        hub.close()


def sha256(data: bytes) -> str:
    """How the Hub names a large file."""
    return hashlib.sha256(data).hexdigest()


def git(data: bytes) -> str:
    """How the Hub names a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _serve(hub: Hub, kind: type[_Handler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    host = ""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {unquote(self.path)}")
        self.hub.tokens[self.host].add(self.headers["authorization"])
        self.met = self.hub.fault(self.command, unquote(self.path))
        if self.met is not None and self.met.silence_s:
            time.sleep(self.met.silence_s)
        if self.met is not None and self.met.status is not None:
            return self.send(self.met.status, b"", self.met.headers)
        self.answer(unquote(self.path.partition("?")[0]))

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        """All of a file, or from where the request says; a cut or a flipped byte where a fault says so."""
        fault, start = self.met or Fault(""), 0
        if fault.flip:
            data = bytes([data[0] ^ 1]) + data[1:]
        if self.hub.ranges and (wanted := self.headers["range"]):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        self.send_response(206 if start else 200)
        for key, value in (headers | {"Content-Length": str(len(body)), "Accept-Ranges": "bytes"}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = body[: fault.cut_after]
        self.hub.count(name, len(body))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)
        if fault.cut_after is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _HubHandler(_Handler):
    host = "hub"

    def answer(self, path: str) -> None:
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            prefix = {"models": "", "datasets": "datasets/"}
            if parts[1] == "resolve-cache":
                name = prefix[parts[2]] + "/".join(parts[3:5])
                return self.file(name, parts[5], "/".join(parts[6:]), direct=True)
            return self.about(prefix[parts[1]] + "/".join(parts[2:4]), parts[4:])
        width = 3 if parts[0] == "datasets" else 2
        return self.file("/".join(parts[:width]), parts[width + 1], "/".join(parts[width + 2 :]))

    def about(self, name: str, rest: list[str]) -> None:
        if name in self.hub.moved:
            return self.send(307, b"", {"Location": self.path.replace(name, self.hub.moved[name])})
        repository = self.repository(name, rest[1] if rest[:1] in (["revision"], ["tree"]) else None)
        if repository is None:
            return
        entries = [_entry(n, d) for n, d in repository.files.items()]
        if rest[:1] == ["tree"]:
            # Pages of two, so that whoever takes the first for all is found out.
            start = int(self.path.partition("cursor=")[2] or 0)
            more = {"Link": f'<{self.hub.url}{self.path.partition("?")[0]}?recursive=True&cursor={start + 2}>; rel="next"'}
            self.json(entries[start : start + 2], more if start + 2 < len(entries) else {})
        elif rest[:1] == ["auth-check"]:
            if self.may(name, repository):
                self.json({})
        else:
            siblings = [{"rfilename": n} for n in repository.files]
            self.json({"id": name.removeprefix("datasets/"), "sha": repository.commit, "siblings": siblings, "private": False, "tags": []})

    def file(self, name: str, revision: str, file: str, *, direct: bool = False) -> None:
        if name in self.hub.moved:
            return self.send(307, b"", {"Location": f"/{self.hub.moved[name]}/resolve/{revision}/{quote(file)}"})
        repository = self.repository(name, revision)
        if repository is None or not self.may(name, repository):
            return None
        about = {"X-Repo-Commit": repository.commit}
        if file not in repository.files:
            return self.send(404, b"", about | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        data = repository.files[file]
        if file.endswith(LARGE):
            signed = f"{self.hub.cdn}/{sha256(data)}?X-Amz-Signature=0"
            linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha256(data)}"', "ETag": f'"{git(data)}"'}
            return self.send(302, b"Found. Redirecting", about | linked | {"Location": signed, "Accept-Ranges": "bytes"})
        if direct:
            return self.send_file(file, data, about | {"ETag": f'"{git(data)}"'})
        kind = "datasets" if name.startswith("datasets/") else "models"
        place = f"/api/resolve-cache/{kind}/{name.removeprefix('datasets/')}/{repository.commit}/{quote(file)}"
        return self.send(307, b"Temporary Redirect", about | {"Location": place, "X-Linked-Size": str(len(data)), "ETag": f'"{git(data)}"'})

    def repository(self, name: str, revision: str | None) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            known = self.headers["authorization"] is not None
            refusal = "Repository not found" if known else "Invalid username or password."
            self.send(404 if known else 401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": refusal})
        elif revision not in (None, "main", repository.commit):
            self.send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
            return None
        return repository

    def may(self, name: str, repository: Repository) -> bool:
        login = self.headers["authorization"]
        if not repository.gated or login == f"Bearer {TOKEN}":
            return True
        words = f"Access to model {name} is restricted" + ("" if login else ". Please log in.")
        self.send(403 if login else 401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": words})
        return False

    def json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class _FileHandler(_Handler):
    host = "cdn"

    def answer(self, path: str) -> None:
        name, data = self.hub.blob(path.strip("/"))
        self.send_file(name, data, {"ETag": f'"{path.strip("/")}"'})


def _entry(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git(data)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry
