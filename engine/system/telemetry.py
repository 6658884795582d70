"""Measure the load of this machine: processor and memory as far as allowed, GPUs through a process that asks NVML.

Whatever happens to that process, this one goes on; a sample without GPUs says why.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from engine.errors import reason_at
from engine.system.allowance import ProcessorLoad, memory
from engine.system.nvml import GpuAnswer, GpuProcess, GpuSample

__all__ = ["GpuProcess", "GpuSample", "MachineSample", "Telemetry", "sample_gpus"]

COMMAND = (sys.executable, "-P", "-m", "engine.system.nvml")
ANSWER_SECONDS = 1.0  # how long a sample waits; a later sample takes an answer that comes later
HUNG_SECONDS = 30.0  # a driver that has to wake several cards may take ten seconds
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 2.0, 300.0
MAX_ANSWER_BYTES = 1024 * 1024
END_SECONDS = 1.0


class MachineSample(Struct, frozen=True):
    """The machine at one moment, as far as this process may use it: processors in percent, memory in bytes.

    `gpu_absence` is one sentence on why `gpus` is empty, or "".
    """

    cpu_percent: float
    memory_used: int
    memory_total: int
    gpus: tuple[GpuSample, ...]
    gpu_absence: str


class Telemetry:
    """Samples of the machine. Each blocks for up to `ANSWER_SECONDS`: call it from one worker thread.

    `command` starts the process that asks NVML, `clock` returns monotonic seconds.
    """

    def __init__(self, command: Sequence[str] = COMMAND, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = _Probe(command, clock)
        self._load = ProcessorLoad()

    def close(self) -> None:
        """End the process that asks NVML; a later sample starts it again."""
        self._probe.close()

    def sample(self) -> MachineSample:
        """Return the load now."""
        room = memory()
        answer = self._probe.ask(ANSWER_SECONDS)
        return MachineSample(
            cpu_percent=self._load.percent(),
            memory_used=room.used,
            memory_total=room.total,
            gpus=answer.gpus,
            gpu_absence=answer.absence,
        )


def sample_gpus(timeout: float = 10.0, command: Sequence[str] = COMMAND) -> tuple[tuple[GpuSample, ...], str]:
    """Return the GPUs now, and one sentence on why there are none, or "". Blocks for up to `timeout` seconds."""
    probe = _Probe(command, time.monotonic)
    try:
        answer = probe.ask(timeout)
    finally:
        probe.close()
    return answer.gpus, answer.absence


class _ProbeError(Exception):
    """A failure of the process that asks NVML, in one sentence."""


class _Probe:
    """The process that asks NVML: started when it is needed, and again after a failure, at growing intervals."""

    def __init__(self, command: Sequence[str], clock: Callable[[], float]) -> None:
        self._command, self._clock = list(command), clock
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_at: float | None = None  # when the question was sent whose answer is still to come
        self._unread = b""
        self._last = GpuAnswer()
        self._failures = 0
        self._retry_at = -float("inf")

    def ask(self, timeout: float) -> GpuAnswer:
        """Return the GPUs, or why they are unknown, after at most `timeout` seconds."""
        if self._clock() < self._retry_at:
            return self._last
        try:
            self._last = self._ask(timeout)
        except _ProbeError as error:
            self._last = GpuAnswer(absence=str(error))
        if self._last.final:
            self.close()
            self._retry_at = float("inf")
        elif self._last.absence and self._asked_at is None:
            self.close()
            self._retry_at = self._clock() + min(FIRST_RETRY_SECONDS * 2**self._failures, LAST_RETRY_SECONDS)
            self._failures += 1
        elif self._last.gpus:
            self._failures = 0
        return self._last

    def _ask(self, timeout: float) -> GpuAnswer:
        try:
            if self._process is None:
                self._start()
            if self._asked_at is None:
                self._send()
        except OSError as error:
            raise _ProbeError(
                f"GPU load is not known: the process that asks NVML does not start: {reason_at(error)}"
            ) from error
        assert self._asked_at is not None
        line = self._read_line(timeout)
        waited = self._clock() - self._asked_at
        if line is None and waited < HUNG_SECONDS:
            return GpuAnswer(absence="GPU load is not known: the NVIDIA driver has not answered yet")
        self._asked_at = None
        if line is None:
            raise _ProbeError(f"GPU load is not known: the NVIDIA driver has not answered for {waited:.0f} s")
        try:
            return msgspec.json.decode(line, type=GpuAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _ProbeError("GPU load is not known: the process that asks NVML answered with no sample") from None

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl+C must not reach it: it ends with its standard input
        )
        self._unread = b""

    def _send(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._asked_at = self._clock()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the next read finds out
            self._process.stdin.write(b"\n")

    def _read_line(self, timeout: float) -> bytes | None:
        """Return the next line of its answers, None if none comes within `timeout` seconds; _ProbeError if it ended."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data or len(self._unread) > MAX_ANSWER_BYTES:
                    self._asked_at = None
                    raise _ProbeError(f"GPU load is not known: the process that asks NVML {self._end()}")
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _end(self) -> str:
        """Wait for its end and describe it with a verb; a process that goes on writing is not ours."""
        assert self._process is not None
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "answered with no sample"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def close(self) -> None:
        process, self._process, self._asked_at = self._process, None, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # if the driver holds it, Popen reaps it later
            process.wait(END_SECONDS)
