"""How freed memory is kept for what is allocated next (mallopt(3) of the GNU C library)."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, as <malloc.h> numbers them
KEPT_BYTES = 2**31 - 1  # the most an int holds
LARGEST_BYTES = 2**28  # of one tensor; larger ones are few, and would leave holes


def keep_freed_memory() -> None:
    """Have this process keep the memory that tensors leave behind, rather than return it and be given it anew.

    A step on a CPU allocates and frees the same gigabytes over and over, and the system clears each page that it gives.
    Where the C library is another one nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
