"""Folders of runs, found by a pattern, and the paths that do not match it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from olora_bench.foreign.pattern import compiled
from olora_bench.formats import Unreadable


@dataclass(frozen=True)
class Folder:
    """A folder that matches, with its fields."""

    path: Path
    fields: Mapping[str, str]


@dataclass
class Matches:
    """What a pattern found; `others` are the folders beside, where a part of the path does not match."""

    folders: list[Folder]
    others: list[Path]


def matches(root: Path, pattern: str) -> Matches:
    """The folders below a root that a pattern names, by path.

    Raises:
        Unreadable: a folder cannot be listed.
    """
    found = Matches([], [])
    parts = [re.compile(compiled(part).pattern) for part in Path(pattern).parts]
    _descend(root, parts, {}, found)
    return found


def _descend(folder: Path, parts: list[re.Pattern[str]], fields: Mapping[str, str], found: Matches) -> None:
    if not parts:
        found.folders.append(Folder(folder, fields))
        return
    for below in _folders(folder):
        match = parts[0].fullmatch(below.name)
        if match is None or any(fields.get(name, value) != value for name, value in match.groupdict().items()):
            found.others += [below] if parts[0].groups else []  # beside a fixed name lies what is none of the study's business
        else:
            _descend(below, parts[1:], {**fields, **match.groupdict()}, found)


def _folders(folder: Path) -> Iterator[Path]:
    try:
        below = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Unreadable(folder, f"cannot be read: {error.strerror or error}") from error
    yield from (path for path in below if path.is_dir() and not path.name.startswith("."))
