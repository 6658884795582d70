"""Measure the main memory of a round's engine and all processes that it has started."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psutil
from msgspec import Struct

from engine.system.process import ProcessIdentity, is_alive

TREE_SECONDS = 10.0  # a search for children goes through all processes of the machine


class TreeSample(Struct, frozen=True):
    """A process with its descendants: their pids, and the sum of their resident sizes in bytes.

    Pages that two of them share count twice, as they do in `top`.
    """

    pids: frozenset[int]
    resident_bytes: int


class ProcessTree:
    """Sample the tree of a process, which may change; look for new children every `TREE_SECONDS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._root: ProcessIdentity | None = None
        self._members: list[psutil.Process] = []
        self._looked_at = 0.0

    def sample(self, root: ProcessIdentity | None) -> TreeSample | None:
        """Return the tree of `root` as it is now; None without a root, or if it has ended."""
        if root is None or not is_alive(root):
            self._root = None
            return None
        if root != self._root or self._clock() - self._looked_at >= TREE_SECONDS:
            self._root, self._looked_at = root, self._clock()
            self._members = _members(root.pid)
        resident = {}
        for member in self._members:
            with contextlib.suppress(psutil.Error):  # it has ended
                resident[member.pid] = member.memory_info().rss
        return TreeSample(frozenset(resident), sum(resident.values()))


def _members(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []
