"""Reuse of freed memory by the C library's allocator (mallopt(3) of the GNU C library)."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, as <malloc.h> numbers them
KEPT_BYTES = 2**31 - 1  # the most an int holds
LARGEST_BYTES = 2**28  # of one tensor; larger ones are few, and would fragment the heap


def keep_freed_memory() -> None:
    """Keep memory that tensors free in this process, rather than return it to the system and allocate it again.

    A step on a CPU allocates and frees the same gigabytes each time, and the system zeroes each page that it hands out.
    With another C library nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
