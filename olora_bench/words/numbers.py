"""Numbers as readers see them: one format a kind of number, a dash where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from olora_bench.identity import lr_text

NOTHING, MINUS = "–", "−"

Format = Callable[[Any], str]


def number(value: Any, *, digits: int = 1, sign: bool = False) -> str:
    """A number with a fixed count of decimals, a dash where there is none.

    >>> number(2.345, sign=True), number(float("nan")), number(float("-inf"))
    ('+2.3', '–', '−∞')
    >>> number(-0.04, sign=True)
    '0.0'
    """
    if value is None or pd.isna(value):
        return NOTHING
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else minus(text)  # no "-0.0"


def minus(text: str) -> str:
    """A number that was written with a hyphen before it, with a minus sign.

    >>> minus("-1.5e-05")
    '−1.5e-05'
    """
    return MINUS + text[1:] if text.startswith("-") else text


def signed(value: float) -> str:
    """A number on an axis of differences, four digits.

    >>> signed(-0.05), signed(2.0), signed(0.0)
    ('−0.05', '+2', '0')
    """
    return minus(f"{value:+.4g}") if value else "0"


def interval(low: Any, high: Any, *, digits: int = 1) -> str:
    """An interval of differences; a dash where there is none.

    >>> interval(-0.04, 1.44)
    '0.0 to +1.4'
    """
    if pd.isna(low):
        return NOTHING
    return f"{number(low, digits=digits, sign=True)} to {number(high, digits=digits, sign=True)}"


def found_range(least: float, low: float, high: float, *, digits: int = 1) -> str:
    """From where on a difference is found, and what that may be; an unknown upper end is none.

    >>> found_range(1.4, 1.1, 2.6), found_range(1.4, 1.1, float("nan")), found_range(1.4, 1.5, 2.0)
    ('1.4 (1.1 to 2.6)', '1.4 (1.1 or more)', '1.4')
    """
    at, low_at, high_at = (number(value, digits=digits) for value in (least, low, high))
    if not low <= least or least > high:
        return at
    return f"{at} ({low_at} to {high_at})" if high == high else f"{at} ({low_at} or more)"


def in_series(parts: Sequence[str]) -> str:
    """Parts in one phrase; empty where there are none.

    >>> in_series(["a"]), in_series(["a", "b"]), in_series(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def rate(value: Any) -> str:
    """A learning rate as `lr_text` writes it, a dash where there is none."""
    return NOTHING if value is None or pd.isna(value) else lr_text(value)


def plain(value: Any) -> str:
    """Anything as it is, a dash for nothing."""
    return NOTHING if value is None or value == "" or (isinstance(value, float) and pd.isna(value)) else str(value)


def pp(value: Any) -> str:
    """A signed number of percentage points, one decimal."""
    return number(value, sign=True)


def digits(count: int, *, sign: bool = False) -> Format:
    """A format with so many decimals."""
    return lambda value: number(value, digits=count, sign=sign)


def four(value: Any) -> str:
    """A number of any size, four significant digits.

    >>> four(0.000012345), four(1234.5)
    ('1.234e-05', '1234')
    """
    return NOTHING if value is None or pd.isna(value) else minus(f"{value:.4g}")


def whole(value: Any) -> str:
    """A whole number with thousands separated."""
    return NOTHING if value is None or pd.isna(value) else f"{value:,.0f}"


def probability(value: Any) -> str:
    """A p-value, two digits."""
    return NOTHING if value is None or pd.isna(value) else f"{value:.2g}"


def times(value: Any) -> str:
    """A ratio."""
    return NOTHING if value is None or pd.isna(value) else f"{value:.2f}x"


def listed(values: pd.Series[Any]) -> str:
    """One value, a range of numbers, or a list of words.

    >>> listed(pd.Series([3, 6])), listed(pd.Series(["b", "a"]))
    ('3 to 6', 'a, b')
    """
    known = values.dropna()
    if known.empty:
        return "none"
    if pd.api.types.is_numeric_dtype(known):
        low, high = known.min(), known.max()
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return ", ".join(sorted(set(map(str, known))))


FORMATS: Mapping[str, Format] = {
    "plain": plain,
    "number": number,
    "pp": pp,
    "rate": rate,
    "whole": whole,
    "probability": probability,
    "times": times,
    "four": four,
    **{f"{count} digits": digits(count) for count in (2, 3, 4)},
    **{f"{count} digits signed": digits(count, sign=True) for count in (3, 4)},
}
"""How a described column is formatted, by the name that its description gives."""
