"""What an arm looks like, in figures and on pages alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArmStyle:
    """An arm's colour (Okabe and Ito's, told apart by colour-blind readers), matplotlib marker and dashes, the same everywhere. No marker
    points anywhere: arrows and triangles say that a value lies beyond."""

    colour: str
    marker: str
    dashes: Any = "-"

    @property
    def on_dark(self) -> str:
        """The same hue, lighter, for a dark page."""
        return _ON_DARK[self.colour]

    @property
    def svg_dashes(self) -> str:
        """The dashes as SVG takes them for a line two units wide; empty for a whole line."""
        return "" if self.dashes == "-" else " ".join(f"{2 * length:g}" for length in self.dashes[1])

    @property
    def svg_marker(self) -> str:
        """The marker as an SVG path around (0, 0), five units from its middle to its outermost points."""
        return MARKERS[self.marker]

    def size(self, points: float) -> float:
        """What matplotlib must be told for a marker that looks so large: a star has little in it."""
        return 1.5 * points if self.marker == "*" else points


def _polygon(radii: Sequence[float], *, turned: float = 0.0) -> str:
    """A closed path through points at these distances from its middle, evenly around it from the top on."""
    angles = (2 * math.pi * (k / len(radii) + turned) for k in range(len(radii)))
    points = (f"{r * math.sin(angle):.2f} {-r * math.cos(angle):.2f}" for r, angle in zip(radii, angles, strict=True))
    return f"M{'L'.join(points)}Z"


MARKERS: Mapping[str, str] = {
    "o": "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",
    "s": _polygon([5.6] * 4, turned=1 / 8),
    "D": _polygon([5.6] * 4),
    "d": _polygon([6, 3.5] * 2),
    "p": _polygon([5.4] * 5),
    "h": _polygon([5.2] * 6),
    "*": _polygon([6.4, 2.6] * 5),
    "P": "M-1.8 -5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
}
"""By the name that matplotlib has for it."""

_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY = "#4A4A4A", "#0072B2", "#D55E00", "#009E73", "#B8649B", "#C98500", "#3F9CCB"
_ON_DARK = {
    _BLACK: "#C4C8CE", _BLUE: "#4BA6DE", _VERMILION: "#F0843A", _GREEN: "#2FBF95", _PURPLE: "#D58ABB", _ORANGE: "#E8AA33", _SKY: "#79C3EA",
}  # fmt: skip
_DASHED, _DOTTED, _MIXED = (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (4, 1.2, 1.2, 1.2))

_KNOWN: Mapping[str, ArmStyle] = {
    "lora": ArmStyle(_BLACK, "o"),
    "olora": ArmStyle(_BLUE, "s"),
    "olora_plus": ArmStyle(_VERMILION, "*"),
    "pissa": ArmStyle(_GREEN, "D"),
    "lora_plus": ArmStyle(_ORANGE, "p"),
    "orthogonal": ArmStyle(_PURPLE, "P"),
    "eva": ArmStyle(_SKY, "h"),
    "lora_matched": ArmStyle(_ORANGE, "d", _DASHED),
    "olora_permuted": ArmStyle(_GREEN, "p", _DASHED),
    "olora_pivoted": ArmStyle(_PURPLE, "h", _DASHED),
    "olora_random": ArmStyle(_VERMILION, "P", _DASHED),
    "olora_added": ArmStyle(_SKY, "*", _DASHED),
    "gaussian": ArmStyle(_ORANGE, "d", _DOTTED),
    "nora": ArmStyle(_PURPLE, "P", _DOTTED),
    "pissa_niter": ArmStyle(_GREEN, "h", _DOTTED),
}
_SPARE = [
    ArmStyle(colour, marker, dashes)
    for dashes, marker in ((_MIXED, "D"), (_DOTTED, "*"), (_DASHED, "h"), ("-", "d"), (_MIXED, "p"), (_DASHED, "P"))
    for colour in (_VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLUE, _BLACK)
]


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """A style for each arm of a study. While there are colours enough no two arms share one: a shipped arm has its own, unless one named
    before it in `_KNOWN` has that colour; any other has an unused one, of the colour and marker used least.

    >>> styles = arm_styles(["lora", "olora", "mine", "olora_plus", "olora_random"])
    >>> len({style.colour for style in styles.values()})
    5
    """
    names = set(arms)
    found: dict[str, ArmStyle] = {}
    for name, style in _KNOWN.items():
        if name in names and style.colour not in {other.colour for other in found.values()}:
            found[name] = style
    for name in [*(name for name in _KNOWN if name in names), *sorted(names - _KNOWN.keys())]:
        if name not in found:
            looks = {(style.colour, style.marker) for style in found.values()}
            colours, markers = [style.colour for style in found.values()], [style.marker for style in found.values()]
            free = [style for style in _SPARE if (style.colour, style.marker) not in looks] or list(_SPARE)
            found[name] = min(free, key=lambda style: (colours.count(style.colour), markers.count(style.marker)))
    return {name: found[name] for name in sorted(found)}
