"""Memory given back to the system, by whichever allocator the process was started with."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from olora_bench.training.allocator import return_freed_memory


@pytest.mark.parametrize(
    "platform, offers, called",
    [
        ("linux", ["MallocExtension_ReleaseFreeMemory", "malloc_trim"], ["MallocExtension_ReleaseFreeMemory"]),
        ("linux", ["malloc_trim"], ["malloc_trim"]),
        ("linux", [], []),
        ("darwin", ["malloc_trim"], []),
    ],
)
def test_the_allocator_in_use_is_asked(monkeypatch: pytest.MonkeyPatch, platform: str, offers: list[str], called: list[str]) -> None:
    """glibc's call is there under tcmalloc too, and does nothing for it."""
    seen: list[str] = []
    process = SimpleNamespace(**{name: lambda *_, name=name: seen.append(name) for name in offers})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: process)
    monkeypatch.setattr(sys, "platform", platform)
    return_freed_memory()
    assert seen == called
