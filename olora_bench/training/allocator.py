"""Memory that a training step frees is kept for the next step, instead of being given back and fetched again page by page."""

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
    """Give back what the allocator holds of memory that was freed: tcmalloc's call where the process was started with it, else glibc's
    `malloc_trim(3)`; elsewhere nothing is done."""
    if not sys.platform.startswith("linux"):
        return
    process = ctypes.CDLL(None)
    release = getattr(process, "MallocExtension_ReleaseFreeMemory", None)
    trim = getattr(process, "malloc_trim", None)
    if release is not None:
        release()
    elif trim is not None:
        trim(0)
