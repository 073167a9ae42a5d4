"""Claims of docs/results.md: a claim is a row, its words and what makes them true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.committed_results import records

ROOT = Path(__file__).parents[1]
PAGE, README = (" ".join((ROOT / name).read_text(encoding="utf-8").replace("**", "").split()) for name in ("docs/results.md", "README.md"))
"""Their words, without emphasis and line breaks."""

Check = Callable[[], None]


class Claims(dict[str, tuple[str, Check]]):
    """name of a check -> the words of the page that it makes true, and the check."""

    def says(self, words: str) -> Callable[[Check], Check]:
        """The decorated function asserts what makes these words of the page true."""

        def keep(check: Check) -> Check:
            self[check.__name__] = (words, check)
            return check

        return keep

    def hold(self, name: str) -> None:
        """The page has the words, and the check finds them true."""
        words, check = self[name]
        assert words in PAGE, f"docs/results.md no longer says {words!r}: give its new words here, or remove the claim"
        check()


def parts_of(study: str, fact: str) -> set[int]:
    """What the records of finished runs say of the part that held-out losses are read on."""
    return {one["data"]["report"][fact] for one in records(study)}
