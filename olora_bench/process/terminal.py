"""Standard output and error of an entry point: what they cannot show is shown otherwise, and a reader that has left stops nothing."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_GONE = (errno.EPIPE, errno.EIO)  # a pipe that nobody reads (`| head`), a terminal that was closed


class _Patient(io.FileIO):
    """A descriptor whose writes are lost, and no error, where nobody reads them; on standard error where they cannot be written at all."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in _GONE:
                _to_nowhere(self.fileno())
            elif self.fileno() != 2:
                raise
            return memoryview(data).nbytes


def _to_nowhere(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def prepare() -> None:
    """Make both streams of this process so; again is nothing. Streams that somebody has put in their place (a test, a notebook) stay.

    A character that the encoding lacks is written as Python's escape, as standard error does anyway. A descriptor that was closed
    (`2>&-`) leads nowhere: else the next file to be opened would get its number, and messages with it.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream, first = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not first:
            continue
        if stream is None:
            _to_nowhere(number)
        else:
            stream.flush()
        setattr(sys, name, _patient(number, stream))


def _patient(number: int, stream: Any) -> io.TextIOWrapper:
    unbuffered = stream is not None and stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(number, "w", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or (stream is not None and stream.line_buffering),
        write_through=unbuffered,
    )
