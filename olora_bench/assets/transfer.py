"""Files of a Hub repository over HTTP, into the Hub library's own cache. A cut costs only what had not come yet, also for the next process.

The Hub library (2.4) throws an unfinished file away, so the bytes are received here; names, addresses, logins and errors are the library's.
"""

from __future__ import annotations

import email.utils
import fcntl
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from olora_bench.process.progress import Progress, duration, say, size

T = TypeVar("T")
TIMEOUT_S = 10.0  # of silence
PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between tries in a row that bring nothing
LONGEST_PAUSE_S = 330.0  # the Hub counts requests in windows of five minutes
_PASSING = {408: "Request Timeout", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
_AT_ONCE = 4


class NotAHub(Exception):
    """What answers at the Hub's address does not answer as a Hub does: a proxy, a sign-in page, a mirror of something else."""


class CutShort(Exception):
    """A download ended in good order and before its end."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at a commit. `digest` names its place in the cache: SHA-256 or git's SHA-1, where the Hub gives one."""

    name: str
    url: str
    digest: str
    size: int | None
    blobs: Path

    @property
    def blob(self) -> Path:
        """Where it lies once all of it has come."""
        return self.blobs / self.digest

    @property
    def part(self) -> Path:
        """Where it grows."""
        return self.blobs / f"{self.digest}.incomplete"

    def here(self) -> int:
        """The bytes that have come."""
        for path in (self.blob, self.part):
            try:
                return path.stat().st_size
            except OSError:
                continue
        return 0


def describe(name: str, url: str, commit: str, blobs: Path) -> RemoteFile:
    """Ask the Hub for a file's digest and size.

    Raises:
        NotAHub: the answer is not a Hub's, or is about another commit.
    """
    digest, length = patiently(lambda: digest_and_size(url, commit, TIMEOUT_S))
    return RemoteFile(name, url, digest, length, blobs)


def digest_and_size(url: str, commit: str, timeout_s: float) -> tuple[str, int | None]:
    """What the Hub says of a file, asked once.

    Raises:
        NotAHub: as `describe`.
    """
    from huggingface_hub import get_hf_file_metadata

    about = get_hf_file_metadata(url, timeout=timeout_s)
    if about.commit_hash != commit or about.etag is None or not re.fullmatch(r"[\w-]+", about.etag):
        raise NotAHub(f"{url} answers with commit {about.commit_hash} and ETag {about.etag}")
    return about.etag, about.size


def names_at(url: str) -> list[str]:
    """The files that a repository's tree lists, page by page. The library's own listing may sleep for an hour."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    names: list[str] = []
    while url:
        answer = get_session().get(url, headers=build_hf_headers(), timeout=TIMEOUT_S)
        hf_raise_for_status(answer)
        names += [entry["path"] for entry in answer.json() if entry["type"] == "file"]
        url = answer.links.get("next", {}).get("url", "")
    return sorted(names)


def receive(files: Sequence[RemoteFile], what: str) -> None:
    """Bring all of `files` to their places, a few at once, going on from what is there. Their digests are the caller's to check."""
    stop = threading.Event()
    before = sum(file.here() for file in files)
    total = sum(file.size or 0 for file in files)
    if before:
        say(f"assets: {size(before)} of {size(total)} of {what} are here already")
    with ThreadPoolExecutor(_AT_ONCE) as pool, Progress(f"downloading {what}", total - before, unit="bytes") as progress:
        try:
            works = [pool.submit(_receive, file, stop) for file in files]
            _watch(works, lambda: progress.advance(sum(file.here() for file in files) - before - progress.done))
        except BaseException:
            stop.set()  # leaving the pool waits for its threads
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _watch(works: list[Future[None]], tick: Callable[[], None]) -> None:
    left: set[Future[None]] = set(works)
    while left:
        done, left = wait(left, timeout=1.0, return_when=FIRST_EXCEPTION)
        tick()
        for work in done:
            work.result()


def _receive(file: RemoteFile, stop: threading.Event) -> None:
    if file.blob.is_file():
        return
    file.blobs.mkdir(parents=True, exist_ok=True)
    with file.part.open("ab") as held:
        _hold(held, file, stop)
        if file.blob.is_file():  # another process was first
            file.part.unlink(missing_ok=True)
            return
        if file.size is None or _length(held) > file.size:
            held.truncate(0)
        patiently(functools.partial(_append, file, held, stop), moved=lambda: _length(held), stop=stop)
        os.fsync(held.fileno())
        file.part.replace(file.blob)


def _hold(held: BinaryIO, file: RemoteFile, stop: threading.Event) -> None:
    """One process at a time; where a file system knows no locks, the digest tells of two."""
    waited = False
    while not stop.is_set():
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not waited:
                say(f"assets: another process is downloading {file.name}; waiting for it")
            waited = True
            stop.wait(0.5)
        except OSError:
            return


def _append(file: RemoteFile, held: BinaryIO, stop: threading.Event) -> None:
    """Ask for what has not come yet, and write it as it comes."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    have = _length(held)
    if have and have == file.size:
        return
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream("GET", file.url, headers=headers, timeout=TIMEOUT_S) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        if have and response.status_code != 206:  # the whole file after all
            held.truncate(0)
        for block in response.iter_bytes():
            held.write(block)
            if stop.is_set():
                raise CutShort("stopped")
    if file.size is not None and _length(held) < file.size:
        raise CutShort(f"{file.name} ended after {_length(held)} of {file.size} bytes")


def _length(held: BinaryIO) -> int:
    held.flush()
    return os.fstat(held.fileno()).st_size


def patiently(work: Callable[[], T], *, moved: Callable[[], int] = lambda: 0, stop: threading.Event | None = None) -> T:
    """Do `work`, again after what passes: a broken connection, the server's own error, a rate limit (for as long as the Hub says).

    Args:
        moved: grows while there is progress; only tries in a row without any are counted.
        stop: ends the waiting.
    """
    stop = stop or threading.Event()
    tries, before = 0, moved()
    while True:
        try:
            return work()
        except Exception as error:
            now = moved()
            tries, before = (1 if now > before else tries + 1), now
            pause = _pause(error, tries)
            if pause is None or stop.is_set():
                raise
            say(f"assets: {passing(error)}; trying again in {duration(pause)}")
            stop.wait(pause)


def _pause(error: Exception, tries: int) -> float | None:
    """Seconds to wait before the next try, or None where there is no point in one."""
    if tries > len(PAUSES_S) or passing(error) is None:
        return None
    wait_s = told_to_wait(error)
    return PAUSES_S[tries - 1] if wait_s is None else wait_s if wait_s <= LONGEST_PAUSE_S else None


def passing(error: BaseException) -> str | None:
    """In words, a trouble that may be over soon; None for any other error."""
    status = status_of(error)
    if status == 429:
        wait_s = told_to_wait(error)
        return "the Hub limits how often it is asked from here" + ("" if wait_s is None else f" and says to wait {duration(wait_s)}")
    if status in _PASSING:
        return f"the Hub answers with an error of its own ({status} {_PASSING[status]})"
    # httpx's base class of everything that goes wrong on the way; the library changes its httpx between versions.
    if isinstance(error, CutShort) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__):
        return f"the connection to the Hub fails ({type(error).__name__}: {error})"
    return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error is about."""
    return getattr(getattr(error, "response", None), "status_code", None)


def told_to_wait(error: BaseException) -> float | None:
    """Seconds that the server asks to wait: `Retry-After` (seconds or a date), or the reset time of the Hub's `RateLimit`."""
    headers: Any = getattr(getattr(error, "response", None), "headers", {})
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    if after:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(after).timestamp() - time.time())
        except ValueError:
            return None
    reset = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return float(reset[1]) + 1 if reset else None
