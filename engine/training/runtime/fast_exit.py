"""How a process ends that has imported the libraries."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys


class FastExit:
    """Ends the process as soon as its threads are through and all that was registered for its end is done.

    Python would take two thousand modules apart then, for a third of a second in which the next round could begin. To
    come last, this must be made before the libraries are imported.

    Attributes:
        exit_code: set it once nothing else is left to do; while it is None, Python ends the process as ever.
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
