"""Figures as bytes: the same figure gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from PIL import Image

from olora_bench.figures._style import styled
from olora_bench.figures.book import Captioned, LeftOut

DPI = 300
PNG_COLOURS = 256
"""A PNG holds a palette of so many, less than half the bytes of one with all shades at the edges of lines."""
FORMATS: Mapping[str, Mapping[str, None]] = {
    "pdf": {"CreationDate": None, "ModDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
"""What to save as, with the metadata that keep the hour of writing out of the file."""


@styled
def file_bytes(figure: Figure, form: str, *, dpi: int = DPI) -> bytes:
    """A figure as a file of one of `FORMATS`; notebooks ask for fewer dots than print."""
    _settle(figure)
    into = io.BytesIO()
    figure.savefig(into, format=form, dpi=dpi, metadata=FORMATS[form])
    return _palette(into) if form == "png" else into.getvalue()


def _settle(figure: Figure) -> None:
    """Lay a figure out, and round where its axes are: the solver's last bits hang on the order of a set, which is another in every process,
    and names in an SVG are digests of them."""
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return  # it was, for another file
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), 9)))


def _palette(png: io.BytesIO) -> bytes:
    into = io.BytesIO()
    with Image.open(png) as drawn:
        few = drawn.convert("RGB").quantize(PNG_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(into, "png", optimize=True, dpi=drawn.info["dpi"])
    return into.getvalue()


def captions(study: str, shown: Sequence[Captioned], left_out: Sequence[LeftOut]) -> str:
    """The captions of a study's figures as Markdown, and why any was left out."""
    parts = [f"# Figures of {study}", *(f"## {one.name}\n\n**{one.title}.** {one.caption}" for one in shown)]
    if left_out:
        parts.append("## Left out\n\n" + "\n".join(f"- {one.name}: {one.reason}" for one in left_out))
    return "\n\n".join(parts).replace("<", "&lt;") + "\n"
