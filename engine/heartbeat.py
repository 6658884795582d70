"""A sign of life: a file that a process touches every few seconds, and what it means when that stops.

A process that was frozen, or whose machine swaps, does not beat; one whose main thread waits for ever still does. So a
run is also asked for its steps. Time is what the watching process has lived through: a clock that is set, or a machine
that slept, makes no run look dead.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from engine.events import Phase, Step
from engine.runlog import EventTail
from engine.workspace import FILE_MODE, RunDir

BEAT_SECONDS = 5.0


class Heartbeat:
    """Touches `path` every `BEAT_SECONDS` from a thread, for as long as the context lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Beat no more."""
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk still lets a file that is there be touched
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE))
                os.utime(self._path, follow_symlinks=False)
            if self._over.wait(BEAT_SECONDS):
                return


class Patience(Struct, frozen=True):
    """How long a run may go without a sign of life, in seconds, before it is said, and before it is ended.

    A step may take `step_said`, or `step_said_times` the longest step so far if that is more; likewise for the end.
    """

    beat_said: float = 60.0
    beat_ended: float = 600.0
    step_said: float = 600.0
    step_said_times: float = 20.0
    step_ended: float = 3600.0
    step_ended_times: float = 100.0


class Stall(Struct, frozen=True):
    """What an engine lacks ("has taken no step"), for how many seconds by now, and whether it is past hope."""

    missing: str
    seconds: float
    hopeless: bool


class Pulse:
    """Watches the signs of life of one run. `clock` gives seconds that this process lived through."""

    def __init__(
        self, run: RunDir, patience: Patience | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._patience = patience or Patience()
        self._clock = clock
        self._events = EventTail(run.events, (Phase, Step))
        self._training = False
        self.step_seconds = 0.0
        self._beat = self._last_beat()
        self._read_events(clock())  # what was said before it was watched counts from now
        self._beat_at = self._step_at = clock()

    def look(self) -> Stall | None:
        """What is missing by now, if it has been missing for too long."""
        now, patience = self._clock(), self._patience
        self._read_events(now)
        if (beat := self._last_beat()) != self._beat:
            self._beat, self._beat_at = beat, now
        silent = now - self._beat_at
        if beat is not None and silent > patience.beat_said:
            return Stall("has shown no sign of life", silent, silent > patience.beat_ended)
        waited = now - self._step_at
        if self._training and waited > max(patience.step_said, patience.step_said_times * self.step_seconds):
            limit = max(patience.step_ended, patience.step_ended_times * self.step_seconds)
            return Stall("has taken no step", waited, waited > limit)
        return None

    def _read_events(self, now: float) -> None:
        for event in self._events.poll():
            self._step_at = self._beat_at = now
            if isinstance(event, Step):
                self._training, self.step_seconds = True, max(self.step_seconds, event.seconds)
            elif isinstance(event, Phase):
                self._training = event.name == "training"

    def _last_beat(self) -> int | None:
        try:
            return self._run.heartbeat.stat().st_mtime_ns
        except OSError:
            return None
