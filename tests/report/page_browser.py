"""A headless Chromium driven through its debugging pipe: the standard library is enough, and no port is opened."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

PROGRAM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe")  # fmt: skip


class Browser:
    """One tab. `requests` are the addresses asked for, `errors` what the console and uncaught exceptions said."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._buffer, self._number = read, write, b"", 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.loaded = False
        self.width = 0
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the tab; its result."""
        return self._send(method, self._session, **parameters)

    def _send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._next(60)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert ready, "Chromium does not answer"
            more = os.read(self._read, 1 << 20)
            assert more, "Chromium is gone"
            self._buffer += more
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:1000])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, page: Path | str, fragment: str = "", width: int = 1400, height: int = 1000) -> None:
        """Load a file, or an address, anew and wait until its script is done; a page without one when it is loaded."""
        self.width = width
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        address = page if isinstance(page, str) else page.resolve().as_uri()
        for url in ("about:blank", address + fragment):  # a new fragment alone would load nothing
            self.loaded = False
            self.send("Page.navigate", url=url)
            while not self.loaded:
                self._next(60)
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def settle(self) -> None:
        """Wait for what was asked to be drawn."""
        self.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(() => done(1)), 120))")

    def key(self, key: str) -> None:
        """Press and release a key where the focus is."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37}
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)} | ({"text": text} if text else {})
        self.send("Input.dispatchKeyEvent", type="keyDown", **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes.get(key, 0))

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Press at one point of the view, release at another."""
        for what, x, y in (
            ("mousePressed", x0, y0),
            ("mouseMoved", (x0 + x1) / 2, (y0 + y1) / 2),
            ("mouseMoved", x1, y1),
            ("mouseReleased", x1, y1),
        ):
            self.send("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", buttons=1, clickCount=1)

    def emulate(self, *, dark: bool = False, still: bool = False) -> None:
        """What the reader's system prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        features += [{"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, to: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **({"clip": self._clip()} if whole else {}))
        to.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self) -> dict[str, float]:
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": max(size["width"], self.width), "height": size["height"], "scale": 1}

    def pdf(self, to: Path) -> None:
        """Print the page."""
        to.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A Chromium that ends with the block. `profile` is an empty folder of its own."""
    assert PROGRAM is not None
    to_chromium, from_chromium = os.pipe(), os.pipe()
    script = f'exec "$0" "$@" 3<&{to_chromium[0]} 4>&{from_chromium[1]}'
    command = ["bash", "-c", script, PROGRAM, *FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(command, pass_fds=(to_chromium[0], from_chromium[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(to_chromium[0])
    os.close(from_chromium[1])
    try:
        yield Browser(from_chromium[0], to_chromium[1])
    finally:
        os.close(to_chromium[1])
        os.close(from_chromium[0])
        process.terminate()
        process.wait(20)


class OpenPage(Protocol):
    """Opens a planted study's page, at a fragment of its address, in a window so many pixels wide."""

    def __call__(self, name: str, fragment: str = "", width: int = 1400) -> Browser: ...
