"""Ask a worker process, which imports the heavy libraries, by lines of JSON, and read lines of JSON from it.

This process imports nothing heavy, the worker's memory is free again when it ends, and a crash in it is one sentence.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from engine.errors import LoratuiError, ProcessEnded, ProcessError, reason_at, reason_of

END_SECONDS = 5.0  # from the end of its output to its exit
T = TypeVar("T")


class Refusal(Struct, frozen=True, tag="refusal"):
    """One sentence on why the process cannot answer, sent instead of an answer."""

    message: str


class WorkerProcess:
    """The process `python -P -m MODULE`. Closing it, from any thread, also ends a `receive` that waits.

    It ends by itself when the process that asks it has ended, because its standard input ends then.
    """

    def __init__(
        self, module: str, what: str, variables: Mapping[str, str] | None = None, directory: Path | None = None
    ) -> None:
        """Start it in `directory`, or in this one.

        `what` is its name in errors, such as "the preview"; `variables` are added to its environment.

        Raises:
            LoratuiError: the machine refuses to start it.
        """
        self._what = what
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        except OSError as error:
            raise ProcessError(
                f"{what} could not be started, as no temporary file can be made: free some space, or set TMPDIR "
                f"({reason_of(error)})"
            ) from error
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, **(variables or {})},
                cwd=directory,
                start_new_session=True,  # Ctrl+C must not reach it
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise ProcessError(f"{what} could not be started: {reason_at(error)}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *requests: object) -> None:
        """Send requests, a line each; if it has ended, `receive` raises.

        Raises:
            LoratuiError: a text in a request, such as a path, is not UTF-8; the process is ended.
        """
        assert self._process.stdin is not None
        try:
            lines = b"".join(msgspec.json.encode(request) + b"\n" for request in requests)
        except UnicodeEncodeError as error:
            self.close()
            raise LoratuiError(f"{error.object!r} is not UTF-8 text: rename the file or its directory") from error
        with contextlib.suppress(OSError, ValueError):  # a ValueError if it was closed
            self._process.stdin.write(lines)
            self._process.stdin.flush()

    def receive(self, answers: msgspec.json.Decoder[T]) -> T:
        """Wait for its next line; the type of `answers` includes `Refusal`.

        Raises:
            ProcessEnded: it ended without an answer.
            LoratuiError: it refused.
        """
        assert self._process.stdout is not None
        try:
            answer = answers.decode(self._process.stdout.readline())
        except (msgspec.DecodeError, ValueError) as error:
            raise ProcessEnded(f"{self._what} ended without an answer: {self._last_words()}") from error
        if isinstance(answer, Refusal):
            raise LoratuiError(answer.message)
        return answer

    def _last_words(self) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").split("\n")
            ended = self._process.wait(END_SECONDS)
        except (ValueError, subprocess.TimeoutExpired) as error:
            return "it was closed" if isinstance(error, ValueError) else "it is stuck"
        if ended < 0:
            memory = ", which happens when memory runs out" if -ended == signal.SIGKILL else ""
            return f"signal {-ended} killed it{memory}"
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def close(self) -> None:
        """End it at once."""
        self._process.kill()
        with contextlib.suppress(OSError), self._process:  # the context closes its pipes too
            self._errors.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def closed_after(seconds: float, process: WorkerProcess) -> Iterator[None]:
    """Close a process that is still at work after so many seconds."""
    timer = Timer(seconds, process.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class WorkerSlot:
    """Room for one worker process at a time; closing it, from any thread, ends that one and lets no other start."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @contextmanager
    def running(self, start: Callable[[], WorkerProcess], seconds: float) -> Iterator[WorkerProcess]:
        """Start a process, and close it at the end of the block, or after so many seconds.

        Raises:
            ProcessEnded: the slot was closed.
        """
        if self._is_closed:
            raise ProcessEnded("its answer is not needed any more")
        with start() as process, closed_after(seconds, process):
            self._process = process
            if self._is_closed:  # since the question above
                process.close()
            yield process

    def close(self) -> None:
        """End the process that runs, if any."""
        self._is_closed = True
        if self._process is not None:
            self._process.close()
