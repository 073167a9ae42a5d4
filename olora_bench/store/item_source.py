"""What items of a benchmark share, as its table's column `source` tells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_SOURCES = ("passage", "article", "source_id")
"""Columns of data sets that several items share: BoolQ's passage, RACE's article, the video or article that HellaSwag's items are from."""


def source_of(doc: Mapping[str, object]) -> str:
    """12 hex digits that items share which are about one passage or from one source; empty where the data set names none.

    >>> source_of({"passage": "p", "question": "a"}) == source_of({"passage": "p", "question": "b"}) != ""
    True
    """
    known = next((str(doc[name]) for name in _SOURCES if doc.get(name)), "")
    return hashlib.sha256(known.encode()).hexdigest()[:12] if known else ""
