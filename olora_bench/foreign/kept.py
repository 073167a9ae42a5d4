"""What an imported study is made from again, without the files that were read: what it declares, its runs, and what was not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from olora_bench.config.sources import Strict
from olora_bench.foreign.evaluated import Key
from olora_bench.foreign.record import read_sealed
from olora_bench.foreign.schema import ForeignStudy
from olora_bench.store import atomic_write, sealed
from olora_bench.store.record import Id

VERSION: Final = 1


class KeptStudy(Strict):
    """An imported study as its folder holds it.

    Attributes:
        file: the study file's name.
        study: what it declared when it was imported.
        runs: ids of the records.
        absent: declared runs of which nothing was there.
        notes: in words, what was not read.
    """

    schema_version: Literal[1] = VERSION
    kind: Literal["imported study"] = "imported study"
    file: str
    study: ForeignStudy
    runs: tuple[Id, ...] = Field(min_length=1)
    absent: tuple[Key, ...] = ()
    notes: tuple[str, ...] = ()


def keep(path: Path, kept: KeptStudy) -> None:
    """Write it down."""
    atomic_write(path, sealed(json.loads(kept.model_dump_json(exclude_none=True))))


def read_kept(path: Path) -> KeptStudy:
    """What `keep` wrote.

    Raises:
        RecordError: it is not there, damaged, or of another schema.
    """
    return read_sealed(path, KeptStudy, "imported study")
