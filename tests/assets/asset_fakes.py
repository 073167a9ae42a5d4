"""Small fakes: a one-file model and benchmark rows in wheels, and a package index of our own to serve them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GGUF = bytes(range(256)) * 4096
ITEMS = [{"sentence": f"A told B that _ won {n}.", "option1": "A", "option2": "B", "answer": str(n % 2 + 1)} for n in range(6)]


def requests_file(rows: list[dict[str, str]]) -> bytes:
    # As OLMES writes them: one line a choice, then the unconditional copies.
    lines = [{"doc": row, "idx": idx, "doc_id": n + start} for start in (0, 1_000_000) for n, row in enumerate(rows) for idx in (0, 1)]
    return gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())


def make_wheel(folder: Path, name: str, files: dict[str, bytes]) -> tuple[Path, str]:
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{n},,\n" for n in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for inside, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(inside, (2024, 1, 1, 0, 0, 0)), data)
    path = folder / f"{module}-1.0-py3-none-any.whl"
    path.write_bytes(buffer.getvalue())
    return path, hashlib.sha256(buffer.getvalue()).hexdigest()


@dataclass
class Index:
    """A package index on this machine. `gate` unset holds a download after its first half."""

    folder: Path
    url: str = ""
    served: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    halfway: threading.Event = field(default_factory=threading.Event)


def only_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let pip in this process's children know one index and no configuration of this machine."""
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
