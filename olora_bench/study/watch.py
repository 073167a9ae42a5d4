"""`study watch`: the page of a study while it runs, served to this machine alone. A request names one of two pages, and no file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from olora_bench.assets import hub
from olora_bench.errors import BadInput, RecordError, StoreError, of_system
from olora_bench.process.progress import say
from olora_bench.report.origins import origins
from olora_bench.report.page import study_page
from olora_bench.report.watch_page import trouble_page, watch_page
from olora_bench.study.expand import find_study
from olora_bench.study.fresh import inputs_digest
from olora_bench.study.live import Live
from olora_bench.study.remake import remake
from olora_bench.study.report import analysed, open_results

ADDRESS = "127.0.0.1"
FRESH_S = 1.0
"""A page that was drawn so short a time ago is given again: several tabs cost no more than one."""
SILENT_S = 30.0
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Pages:
    """The two pages of a study. Each is made where it is asked for, one at a time, and kept for as long as it is fresh."""

    def __init__(self, name: str, overrides: Sequence[str]) -> None:
        self.name, self.overrides = name, tuple(overrides)
        self._live, self._lock = Live(name, overrides), threading.Lock()
        self._drawn: tuple[float, bytes] | None = None
        self._report: tuple[str, bytes] | None = None

    def live(self) -> bytes:
        """The study as it stands."""
        with self._lock:
            if self._drawn is None or time.monotonic() - self._drawn[0] > FRESH_S:
                page = self._or_trouble(lambda: watch_page(self._live.watched()))
                self._drawn = time.monotonic(), page
            return self._drawn[1]

    def report(self) -> bytes:
        """The report of what is recorded so far; nothing of it is written."""
        with self._lock:
            return self._or_trouble(self._reported)

    def _reported(self) -> bytes:
        home, file = open_results(self.name, self.overrides), find_study(self.name)
        inputs = inputs_digest(home, file)
        if self._report is None or self._report[0] != inputs:
            found = analysed(home, file)
            again = remake(home.name, file, home.results_dir, found.frames.overrides)
            self._report = inputs, study_page(found.frames, found.tables, origins(found.frames, again))
        return self._report[1]

    def _or_trouble(self, make: Callable[[], bytes]) -> bytes:
        """A page, or one with the reason why it cannot be made now: a study that is edited or damaged meanwhile ends no watch."""
        try:
            with hub.asking_nobody():  # here, for a server's thread knows nothing of the one that started it
                return make()
        except (BadInput, RecordError, StoreError) as error:
            return trouble_page(self.name, str(error))
        except OSError as error:
            return trouble_page(self.name, of_system(error))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, pages: Pages) -> None:
        self.pages = pages
        super().__init__((ADDRESS, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that has left, or sends no HTTP, is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SILENT_S
    server_version, sys_version = "olora_bench", ""

    def do_GET(self) -> None:
        """One of the two pages, whole; 404 for anything else."""
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        """As GET, without the page."""
        self._answer(whole=False)

    def _answer(self, *, whole: bool) -> None:
        # A page of the internet whose name leads to this address must not read the answer: it would call this server by that name.
        names = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
        pages = {"/": self.server.pages.live, "/report": self.server.pages.report}
        if self.headers.get("Host") not in names:
            self.send_error(HTTPStatus.FORBIDDEN, f"Ask for http://{ADDRESS}:{self.server.server_port}/")
        elif self.path not in pages:
            self.send_error(HTTPStatus.NOT_FOUND, "There are two pages: / and /report")
        else:
            self._send(pages[self.path](), whole=whole)

    def _send(self, page: bytes, *, whole: bool) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in (_HEADERS | {"Content-Length": str(len(page))}).items():
            self.send_header(name, value)
        self.end_headers()
        if whole:
            self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nothing: the page asks every few seconds."""


def server(name: str, overrides: Sequence[str], port: int) -> ThreadingHTTPServer:
    """A server of a study's pages, bound and not yet serving.

    Args:
        port: 0 takes a free one.

    Raises:
        BadInput: there is no such study, it cannot be carried out as written, or the port is taken.
        RecordError: the study's lock cannot be read.
    """
    Live(name, overrides).opened()
    try:
        return _Server(port, Pages(name, overrides))
    except OSError as error:
        raise BadInput(
            f"--port {port}: {error.strerror or error}. Allowed: a port that nothing else listens on, or 0 for a free one. "
            "Another watch may run already: open its page, or give this one another port"
        ) from error


def watch(name: str, overrides: Sequence[str], port: int) -> None:
    """Serve a study's pages until Ctrl-C; arguments and errors as for `server`."""
    with server(name, overrides, port) as serving:
        say(f"study {name}: http://{ADDRESS}:{serving.server_address[1]}/ shows it as it runs. Ctrl-C ends this; the study goes on")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            say("the watch is over")
