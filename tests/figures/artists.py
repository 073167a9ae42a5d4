"""Artists of a figure, found by the name that its code gave them."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def artists(figure: Figure, gid: str) -> list[Any]:
    """The artists that carry this name, in the order of panels and rows."""
    return [artist for axes in figure.axes for artist in axes.get_children() if artist.get_gid() == gid]


def artists_of(axes: Axes, gid: str) -> list[Any]:
    """The artists of one panel that carry this name."""
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def at(artist: Any) -> tuple[float, float]:
    """Where a single mark is."""
    return float(artist.get_xdata()[0]), float(artist.get_ydata()[0])
