"""What is told of a study under one label: a few lines of a plan, a sentence of a page."""

from __future__ import annotations

from typing import NamedTuple

WIDTH = 13


class Labelled(NamedTuple):
    """A label and what is told under it, in one text or several."""

    label: str
    texts: tuple[str, ...]

    def lines(self) -> list[str]:
        """The texts below each other, the label beside the first.

        >>> Labelled("power", ("97%", "at 1 pp")).lines()
        ['power         97%', '              at 1 pp']
        """
        return [f"{'' if number else self.label:<{WIDTH}} {text}" for number, text in enumerate(self.texts)]

    def sentence(self) -> str:
        """The first of them.

        >>> Labelled("power", ("97% at the margin of 1 pp",)).sentence()
        'Power: 97% at the margin of 1 pp.'
        """
        return f"{self.label.capitalize()}: {self.texts[0]}."
