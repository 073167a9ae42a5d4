"""Links in a results folder, which may be somebody else's: followed where they stay in it, refused where they lead out."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from olora_bench.errors import RecordError, StoreError

_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def inside(root: Path, path: Path) -> Path:
    """`path`, below `root` and perhaps not there yet, once no link on the way to it or directly in it leads out of `root`.

    Raises:
        RecordError: one does, and where it leads; or `path` is not below `root`.
        StoreError: the system does not say what lies there.
    """
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        parts = ("..",)
    if ".." in parts:
        raise RecordError(f"{path}: not below {root}: nothing is read or written there")
    for one in _links(root, parts):
        target = Path(os.path.realpath(one))  # not `resolve`, which raises where links go round in a circle
        if Path(os.path.realpath(root)) not in target.parents:
            raise RecordError(
                f"{one}: a link that leads out of {root}, to {target}: nothing is read or written there. Put the files in its place"
            )
    return path


def _links(root: Path, parts: Sequence[str]) -> Iterator[str]:
    place = str(root)
    for part in parts:
        place = f"{place}/{part}"  # no Path: thousands of folders are looked at
        try:
            link = stat.S_ISLNK(os.lstat(place).st_mode)
        except ValueError:
            return
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return
            raise StoreError(
                f"{place} cannot be looked at: {error.strerror or error}. Put that right, then give the same command again"
            ) from error
        if link:
            yield place
    try:
        with os.scandir(place) as entries:
            yield from (entry.path for entry in entries if entry.is_symlink())
    except OSError:  # not there, or no folder
        return
