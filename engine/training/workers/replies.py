"""The replies of a worker process, lines of JSON on its standard output."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import msgspec
from msgspec import Struct

from engine.errors import LoratuiError
from engine.system.worker_process import Refusal
from engine.text.redact import redact


class Replies:
    """Standard output, reserved for replies; whatever a library prints goes to standard error.

    The process ends once nobody can read them any more, even while it imports or loads a model, which may take minutes
    and all the memory of a GPU.
    """

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        Thread(target=_end_without_reader, args=(self._stream.fileno(),), name="reader", daemon=True).start()

    def send(self, reply: Struct) -> None:
        """Write one reply as a line."""
        self._stream.write(msgspec.json.encode(reply) + b"\n")
        self._stream.flush()

    @contextmanager
    def errors_as_refusals(self) -> Iterator[None]:
        """Send a LoratuiError that the block raises as a `Refusal`, without the secrets in its message."""
        try:
            yield
        except LoratuiError as error:
            self.send(Refusal(redact(error.message)))


def _end_without_reader(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, 0)  # only the end of its reader, POLLERR, is reported: poll(2)
    poll.poll()
    os._exit(1)
