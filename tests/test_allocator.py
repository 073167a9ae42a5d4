"""Which allocator a process was started with, and memory that it gives back to the system."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from olora_bench.process.allocator import allocator, return_freed_memory

RELEASE = "MallocExtension_ReleaseFreeMemory"


@pytest.mark.parametrize(
    "offers, called, name",
    [
        ([RELEASE, "malloc_trim"], [RELEASE], "tcmalloc"),  # glibc's call is there too, and does nothing for tcmalloc
        (["mallctl", "malloc_trim"], ["malloc_trim"], "jemalloc"),
        (["malloc_trim"], ["malloc_trim"], "system"),
        ([], [], "system"),
    ],
)
def test_the_allocator_in_use_is_asked_and_named(monkeypatch: pytest.MonkeyPatch, offers: list[str], called: list[str], name: str) -> None:
    seen: list[str] = []
    process = SimpleNamespace(**{symbol: lambda *_, symbol=symbol: seen.append(symbol) for symbol in offers})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: process)
    return_freed_memory()
    assert (seen, allocator()) == (called, name)
