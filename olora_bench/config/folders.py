"""Folders of a machine, as a user names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo


def _can_be_named(path: object, info: ValidationInfo) -> object:
    text = str(path) if isinstance(path, str | Path) else "."
    if not text.strip() or "\0" in text or any(len(os.fsencode(part)) > 255 for part in Path(text).parts):
        short = text if len(text) < 100 else f"{text[:100]}..."
        raise ValueError(
            f"machine.{info.field_name}={short!r} is not allowed: name a folder; each part of its path has at most 255 bytes, and no NUL"
        )
    return path


def _expand_home(path: Path, info: ValidationInfo) -> Path:
    """As a shell does: `~` in front is a home, where there is one; every other character is itself."""
    expanded = Path(os.path.expanduser(path))  # noqa: PTH111 (Path's own raises where a file is merely called ~something)
    if path.parts[:1] == ("~",) and expanded == path:
        key = str(info.field_name)
        variable = f"OLORA_BENCH_{key.removesuffix('_dir').upper()}"
        raise ValueError(f"machine.{key}={path}: this user has no home folder. Set HOME or {variable}, or give machine.{key} in full")
    return expanded


Folder = Annotated[Path, BeforeValidator(_can_be_named), AfterValidator(_expand_home)]
