"""What an arm looks like, in figures and on pages alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArmStyle:
    """An arm's colour (Okabe and Ito's, told apart by colour-blind readers), matplotlib marker and dashes, the same everywhere."""

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


_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY = "#4A4A4A", "#0072B2", "#D55E00", "#009E73", "#B8649B", "#C98500", "#3F9CCB"
_ON_DARK = {
    _BLACK: "#C4C8CE", _BLUE: "#4BA6DE", _VERMILION: "#F0843A", _GREEN: "#2FBF95", _PURPLE: "#D58ABB", _ORANGE: "#E8AA33", _SKY: "#79C3EA",
}  # fmt: skip
_DASHED, _DOTTED, _MIXED = (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (4, 1.2, 1.2, 1.2))

_KNOWN: Mapping[str, ArmStyle] = {
    "lora": ArmStyle(_BLACK, "o"),
    "olora": ArmStyle(_BLUE, "s"),
    "olora_plus": ArmStyle(_VERMILION, "^"),
    "pissa": ArmStyle(_GREEN, "D"),
    "lora_plus": ArmStyle(_ORANGE, "v"),
    "orthogonal": ArmStyle(_PURPLE, "P"),
    "eva": ArmStyle(_SKY, "X"),
    "lora_matched": ArmStyle(_ORANGE, "d", _DASHED),
    "olora_permuted": ArmStyle(_GREEN, "p", _DASHED),
    "olora_pivoted": ArmStyle(_PURPLE, "h", _DASHED),
    "olora_random": ArmStyle(_VERMILION, "<", _DASHED),
    "olora_added": ArmStyle(_SKY, ">", _DASHED),
    "gaussian": ArmStyle(_ORANGE, "*", _DOTTED),
    "nora": ArmStyle(_PURPLE, "8", _DOTTED),
    "pissa_niter": ArmStyle(_GREEN, "H", _DOTTED),
}
_SPARE = [
    ArmStyle(colour, marker, dashes)
    for dashes, marker in ((_MIXED, "D"), (_DOTTED, "v"), (_DASHED, "o"), ("-", "d"), (_MIXED, "s"), (_DASHED, "^"))
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
