"""Names that reach a command line, an address or a path, held to the grammar of those who take them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# As huggingface_hub's `validate_repo_id` has it, whose import takes longer than composing a config.
_HUB_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HUB_LONGEST = 96


def package_name(text: str) -> str:
    """A project's name as PEP 508 has it: without version, extras, marker, address or option.

    Raises:
        ValueError: it is something else.
    """
    from packaging.utils import InvalidName, canonicalize_name

    try:
        canonicalize_name(text, validate=True)
    except InvalidName:
        raise ValueError(f"{text!r} is no package's name: letters, digits and - _ . are allowed, a letter or digit at both ends") from None
    return text


def package_version(text: str) -> str:
    """A version as PEP 440 writes it, e.g. `0.1.2`: one version and no range.

    Raises:
        ValueError: it is something else, or not in its normal form.
    """
    from packaging.version import InvalidVersion, Version

    try:
        normal = str(Version(text))
    except InvalidVersion:
        raise ValueError(f"{text!r} is no version: give one, as PEP 440 writes it, e.g. 0.1.2") from None
    if normal != text:
        raise ValueError(f"{text!r} is not how PEP 440 writes this version: write {normal}")
    return text


def hub_id(text: str) -> str:
    """A repository of the Hugging Face Hub: `org/name`, or the `name` of one of the few without an organisation.

    Raises:
        ValueError: it is something else, e.g. an address or a path.
    """
    parts = text.split("/")
    sound = len(parts) <= 2 and all(map(_HUB_PART.fullmatch, parts)) and len(text) <= _HUB_LONGEST
    if not sound or "--" in text or ".." in text or text.endswith(".git"):
        raise ValueError(
            f"{text!r} is no repository of the Hub: org/name, each of letters, digits and - _ . with none of these two at an end, "
            f"at most {_HUB_LONGEST} characters, no -- and no .."
        )
    return text


def path_inside(text: str) -> str:
    """A relative path that cannot lead out of the folder it is put behind: `/` between its parts, no `..`.

    Raises:
        ValueError: it could, or is no path.
    """
    path = PurePosixPath(text)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\\\x00-\x1f]|^[A-Za-z]:|^~", text):
        raise ValueError(f"{text!r} must be a relative path that stays below its folder: no .. and no / at its beginning")
    return text


def hub_source(value: object) -> object:
    """`org/name` and `org/name@COMMIT`, as a command line has them, in place of a source's keys."""
    if not isinstance(value, str):
        return value
    name, _, revision = value.partition("@")
    return {"id": name, "revision": revision or None}
