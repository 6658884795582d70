"""A fast exit for a process that has imported the heavy libraries."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys


class FastExit:
    """Ends the process right after its threads and exit handlers, without Python's teardown of modules.

    The teardown of two thousand modules takes a third of a second, in which the next round could begin. Handlers run
    in reverse order, so create this before the libraries are imported.

    Attributes:
        exit_code: set it when all work is done; while it is None, Python ends the process as usual.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.exit_code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(self.exit_code)
