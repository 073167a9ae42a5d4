"""What W&B holds of a run, read back: from its offline files, or from its server."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from olora_bench.config import Tracker

_HEADER = 7
_BLOCK = 32768


@dataclass
class Shown:
    """One run as W&B has it. `history` holds the rows in the order they came, `exit_code` is null while the run is not closed."""

    run_id: str
    name: str = ""
    group: str = ""
    config: dict[str, JsonValue] = field(default_factory=dict)
    history: list[dict[str, JsonValue]] = field(default_factory=list)
    summary: dict[str, JsonValue] = field(default_factory=dict)
    exit_code: int | None = None


def offline_files(directory: Path, run_id: str) -> list[Path]:
    """The offline files of a run below the tracker's folder, uploaded ones included."""
    return sorted(directory.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))


def read_offline(path: Path) -> Shown:
    """Read a `.wandb` file, as far as it is written.

    The file is a header of 7 bytes, then LevelDB's log: blocks of 32 KiB, in them pieces of (checksum 4, length 2, kind 1, data),
    each record one protobuf message.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as proto

    shown = Shown("")
    for payload in _payloads(path.read_bytes()):
        record = proto.Record()
        try:
            record.ParseFromString(payload)
        except DecodeError:
            break  # cut off: what follows cannot be trusted
        if record.HasField("run"):
            shown.run_id, shown.name, shown.group = record.run.run_id, record.run.display_name, record.run.run_group
            shown.config |= _values(record.run.config.update)
        elif record.HasField("history"):
            row = _values(record.history.item)
            shown.history.append({key: value for key, value in row.items() if not key.startswith("_")})
        elif record.HasField("summary"):
            shown.summary |= _values(record.summary.update)
        elif record.HasField("exit"):
            shown.exit_code = record.exit.exit_code
    return shown


def read_online(tracker: Tracker, run_id: str) -> Shown | None:
    """Ask W&B's server; None where it has no such run.

    Raises:
        Exception: whatever W&B raises when it cannot be reached or refuses.
    """
    import wandb
    from wandb.errors import CommError

    api = wandb.Api(timeout=30)
    try:
        run = api.run(f"{tracker.entity or api.default_entity}/{tracker.project}/{run_id}")
    except (CommError, ValueError) as error:
        if "not find" in str(error):
            return None
        raise
    rows = [{key: value for key, value in row.items() if not key.startswith("_")} for row in run.scan_history()]
    closed = None if run.state == "running" else 0 if run.state == "finished" else 1
    return Shown(run_id, run.name, run.group or "", dict(run.config), rows, dict(run.summary), closed)


def _values(items: Any) -> dict[str, JsonValue]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _payloads(content: bytes) -> Iterator[bytes]:
    at, partial = _HEADER, b""
    while at + 7 <= len(content):
        room = _BLOCK - at % _BLOCK
        if room < 7:
            at += room
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if at + 7 + length > len(content):
            return  # still being written, or cut off
        partial += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            yield partial
            partial = b""
