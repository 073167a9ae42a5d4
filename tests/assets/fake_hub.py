"""The part of the Hugging Face Hub's HTTP interface that a snapshot download uses, over a folder of files."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """`files`: repository path -> bytes, e.g. {"org/model/config.json": b"{}"}; datasets are below "datasets/"."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.downloads: list[str] = []
        self.gated = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].strip("/")
                if path.startswith("api/"):
                    kind, _, rest = path.removeprefix("api/").partition("/")
                    repo = "/".join(rest.split("/")[:2])
                    if hub.gated and rest.endswith("/auth-check"):
                        return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
                    return self._json(hub.listing("" if kind == "models" else f"{kind}/", repo, "/tree/" in rest))
                before, _, after = path.partition("/resolve/")
                name = f"{before}/{after.partition('/')[2]}"
                if name not in hub.files:
                    return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                data = hub.files[name]
                if self.command == "GET":
                    hub.downloads.append(name)
                large = name.endswith((".safetensors", ".parquet"))
                tag = {"X-Linked-Etag": f'"{digest(data)}"', "X-Linked-Size": str(len(data))} if large else {}
                return self._send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(data) if large else git(data)}"', **tag})

            def _json(self, value: object) -> None:
                if value is None:
                    self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
                else:
                    self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def listing(self, kind: str, repo: str, tree: bool) -> object:
        names = {n.removeprefix(f"{kind}{repo}/"): d for n, d in self.files.items() if n.startswith(f"{kind}{repo}/")}
        if not names:
            return None
        entries = [{"type": "file", "path": n, "rfilename": n, "size": len(d), "oid": git(d)} for n, d in names.items()]
        for entry in entries:
            if str(entry["path"]).endswith((".safetensors", ".parquet")):
                content = digest(names[str(entry["path"])])
                entry["lfs"] = {"oid": content, "sha256": content, "size": entry["size"], "pointerSize": 130}
        return entries if tree else {"id": repo, "sha": COMMIT, "siblings": entries, "private": False, "downloads": 0, "tags": []}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
