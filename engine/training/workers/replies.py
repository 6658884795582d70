"""The replies of a worker process, lines of JSON on its standard output."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct


class Replies:
    """Standard output, reserved for replies; whatever a library prints goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, reply: Struct) -> None:
        """Write one reply as a line."""
        self._stream.write(msgspec.json.encode(reply) + b"\n")
        self._stream.flush()
