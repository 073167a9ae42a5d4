"""Who gives a process its memory, and what becomes of memory that a training step frees."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_THRESHOLD = 32 << 20  # glibc takes no more


@cache
def keep_freed_memory() -> bool:
    """Ask glibc, once a process, to serve blocks up to 32 MiB from memory it has already; elsewhere nothing is done.

    Each step asks for the same hundreds of MiB anew, and a page of fresh memory costs more to get than the products written into it.
    `mallopt(3)` says what is set: the threshold of mmap, and that of giving memory back.

    Returns:
        whether it was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))


def return_freed_memory() -> None:
    """Give back what the allocator holds of memory that was freed: by tcmalloc's own call where the process was started with it, else by
    glibc's `malloc_trim(3)`; where there is neither, nothing is done."""
    process = ctypes.CDLL(None)
    if hasattr(process, _TCMALLOC):
        getattr(process, _TCMALLOC)()
    elif hasattr(process, "malloc_trim"):
        process.malloc_trim(0)


def allocator() -> str:
    """Who gives this process its memory: tcmalloc, jemalloc or mimalloc where it was started with one (`LD_PRELOAD`), else "system".

    How much memory tensors take and how long they wait for it depends on it; no number does.
    """
    process = ctypes.CDLL(None)
    return next((name for name, symbol in _SYMBOLS.items() if hasattr(process, symbol)), "system")


_TCMALLOC = "MallocExtension_ReleaseFreeMemory"
_SYMBOLS = {"tcmalloc": _TCMALLOC, "jemalloc": "mallctl", "mimalloc": "mi_version"}
"""A function that each allocator has and no other."""
