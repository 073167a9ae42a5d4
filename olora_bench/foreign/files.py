"""Files of strangers: regular ones only, up to a size, a line at a time where they are long, with the digest of what was read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from olora_bench.errors import BadInput
from olora_bench.formats import MOST_JSON_BYTES, Unreadable, read_regular
from olora_bench.store.sealed import sha256

MOST_FILES = 100_000
MOST_BYTES = 16 * 1024**3
MOST_LINE_BYTES = 64 * 1024**2
MOST_ARRAY_BYTES = 2 * 1024**3


def shown(value: object, most: int = 200) -> str:
    """A value from a stranger's file as text: printable, and of a bounded length.

    >>> shown("a\\x1b[31mb"), shown(0.5)
    ('a?[31mb', '0.5')
    """
    return "".join(one if one.isprintable() else "?" for one in str(value)[:most])


def told(path: Path, root: Path) -> str:
    """A path from a folder on, as text that any file can hold: a name that is no UTF-8 is told by its bytes."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


class Digest:
    """The SHA-256 of what is read from a file."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.update = self._sum.update

    @property
    def text(self) -> str:
        """64 hex digits."""
        return self._sum.hexdigest()


def files_below(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """The regular files below a folder with one of the suffixes, sorted; links to folders are not followed.

    Raises:
        Unreadable: a folder cannot be listed.
        BadInput: there are more than `MOST_FILES`.
    """

    def refuse(error: OSError) -> None:
        raise Unreadable(error.filename or root, f"cannot be read: {error.strerror or error}") from error

    found: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names) if name.endswith(tuple(suffixes)) and not name.startswith(".")]
        if len(found) > MOST_FILES:
            raise BadInput(f"{root}: more than {MOST_FILES} files: name a folder with less in it")
    return [path for path in found if stat.S_ISREG(_mode(path))]


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def json_object(path: Path) -> tuple[dict[str, object], str]:
    """The object in a JSON file, and the SHA-256 of its bytes; NaN and infinity are read as null.

    Raises:
        Unreadable: it cannot be read, or holds none.
    """
    content = whole(path, MOST_JSON_BYTES)
    try:
        value = json.loads(content, parse_constant=lambda _: None)
        _printable(content, value)
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"no valid JSON: {str(error) or 'nested too deeply'}") from error
    if not isinstance(value, dict):
        raise Unreadable(path, f"no JSON object but {type(value).__name__}")
    return value, sha256(content)


_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def _printable(content: bytes, value: object) -> None:
    """Refuse half a surrogate pair: text that nothing can write again."""
    if b"\\u" in content and _HALF.search(content):
        json.dumps(value, ensure_ascii=False).encode()


def whole(path: Path, most: int = MOST_ARRAY_BYTES) -> bytes:
    """A regular file's bytes, at most so many.

    Raises:
        Unreadable: the system refuses, something else lies there, or it is too long.
    """
    try:
        if (size := path.stat().st_size) > most:
            raise Unreadable(path, f"{size} bytes; at most {most} are read at once")
        return read_regular(path)
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from error


def json_rows(path: Path, digest: Digest) -> Iterator[dict[str, object]]:
    """The objects of a file with one a line, or with one array of them (lm-eval 0.4.0 to 0.4.2).

    Raises:
        Unreadable: it cannot be read, ends within a row, or a row is no object; names the line.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable(path, "no regular file")
            if facts.st_size > MOST_BYTES:
                raise Unreadable(path, f"{facts.st_size} bytes; at most {MOST_BYTES} are read")
            first = file.read(1)
            file.seek(0)
            yield from _array(path, file, facts.st_size, digest) if first == b"[" else _lines(path, file, digest)
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from error


def _array(path: Path, file: BinaryIO, size: int, digest: Digest) -> Iterator[dict[str, object]]:
    if size > MOST_ARRAY_BYTES:
        raise Unreadable(path, f"an array of {size} bytes; at most {MOST_ARRAY_BYTES} are read")
    content = file.read()
    digest.update(content)
    try:
        rows = json.loads(content)
        _printable(content, rows)
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"an array that ends in the middle, or no JSON: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise Unreadable(path, f"entry {number} is no object but {type(row).__name__}")
        yield row


def _lines(path: Path, file: BinaryIO, digest: Digest) -> Iterator[dict[str, object]]:
    number = 0
    while line := file.readline(MOST_LINE_BYTES):
        number += 1
        digest.update(line)
        if line.isspace():
            continue
        try:
            row = json.loads(line)
            _printable(line, row)
        except (ValueError, RecursionError) as error:
            whole, deep = line.endswith(b"\n"), isinstance(error, RecursionError)
            what = "is nested too deeply" if deep else f"is no JSON: {error}" if whole else "is cut off: the file is half-written"
            what = f"is longer than {MOST_LINE_BYTES} bytes" if len(line) == MOST_LINE_BYTES and not whole else what
            raise Unreadable(path, f"line {number} {what}") from error
        if not isinstance(row, dict):
            raise Unreadable(path, f"line {number} is no object but {type(row).__name__}")
        yield row
