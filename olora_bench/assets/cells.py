"""A cell's value and a column's name, as messages show them."""

from __future__ import annotations

from typing import Any

KINDS = {str: "text", int: "a whole number", float: "a decimal number", bool: "true or false", list: "a list", dict: "an object"}
"""What kinds of value a row of JSON may hold, in words."""


def visible(name: str) -> str:
    """A column's name in a message, in quotes where spaces would hide."""
    return name if name == name.strip() and name else repr(name)


def shown(value: Any) -> str:
    """A cell's value in a message, shortened; `null` for what is not there."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kinds_said(value: Any) -> str:
    """What kind of value a cell holds, in words."""
    return KINDS.get(type(value), type(value).__name__)
