"""Processes of ours that need torch or matplotlib, forked from one that has imported it, as that takes seconds.

`ForkedProcess` is a `subprocess.Popen` of `python -P -m MODULE ...` or `python -P -c CODE ...`; the process is a child
of this one as any other is. What the libraries read when they are imported (HF_HOME, HF_ENDPOINT) it cannot have of its
own, and bitsandbytes is left out: what needs those is started as ever.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from typing import Any, ClassVar

import msgspec

from tests.support.fork_server import Request
from tests.support.processes import ROOT

PADDING = "-" * 8000  # room for the command lines of the processes that are forked
SET_CHILD_SUBREAPER = 36  # of prctl(2)
PYTHON = sys.executable
# The servers that fork the modules of a package.
SERVERS = {"engine.training": "training", "benchmarks": "training", "engine.report": "charts"}
start_process = subprocess.Popen


class ForkServer:
    """A process that forks; each process that has tests to run starts those it needs."""

    _running: ClassVar[dict[str, ForkServer]] = {}

    @classmethod
    def running(cls, name: str) -> ForkServer:
        if name not in cls._running:
            cls._running[name] = cls(name)
        return cls._running[name]

    def __init__(self, name: str) -> None:
        self._channel, other = socket.socketpair()
        with other:
            self._process = start_process(
                [PYTHON, "-P", "-m", "tests.support.fork_server", str(other.fileno()), name, PADDING],
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            )
        self._lines = self._channel.makefile("rb")
        self._libc = ctypes.CDLL(None)

    def fork(self, request: Request, descriptors: list[int]) -> int:
        """The pid of a new process; meanwhile orphans of this process's descendants become its children."""
        line = msgspec.json.encode(request) + b"\n"
        self._take_orphans(True)
        try:
            sent = socket.send_fds(self._channel, [line], descriptors)
            self._channel.sendall(line[sent:])
            pid = int(self._lines.readline())
            assert self._lines.readline() == b"started\n"
        finally:
            self._take_orphans(False)
        return pid

    def _take_orphans(self, wanted: bool) -> None:
        assert self._libc.prctl(SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0


class ForkedProcess(subprocess.Popen[Any]):
    """As `subprocess.Popen`. No file that it writes may grow beyond `file_bytes`, if that is given."""

    def __init__(self, words: list[str], *, file_bytes: int | None = None, **options: Any) -> None:
        self._file_bytes = file_bytes
        super().__init__(words, **options)

    def _execute_child(self, *arguments: Any) -> None:
        """Takes the place of the method that forks and executes; the arguments are those of CPython 3.11 to 3.14."""
        words, _, _, _, pass_fds, directory, environment, _, _, _, *pipes = arguments[:16]
        new_session = arguments[21]
        standard = [pipe if pipe != -1 else number for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        request = Request(
            words=[str(word) for word in words],
            directory=os.fsencode(directory or os.getcwd()),
            environment=dict(os.environ if environment is None else environment),
            descriptors=[0, 1, 2, *pass_fds],
            new_session=new_session,
            file_bytes=self._file_bytes,
        )
        self.pid = ForkServer.running(server_of(words) or "training").fork(request, [*standard, *pass_fds])
        self._child_created = True
        private: Any = self
        private._close_pipe_fds(*pipes)


def run_forked(
    words: list[str], *, file_bytes: int | None = None, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with variables added to the environment; its exit code and what it printed."""
    with ForkedProcess(
        words,
        file_bytes=file_bytes,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            printed, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(words, process.returncode, printed, errors)


def server_of(words: Any) -> str | None:
    """Return the server that forks a command `python -P -m MODULE ...`, None if no server does."""
    if not isinstance(words, list) or words[:3] != [PYTHON, "-P", "-m"]:
        return None
    return next((server for package, server in SERVERS.items() if words[3].startswith(package)), None)


def popen(words: Any, *arguments: Any, **options: Any) -> subprocess.Popen[Any]:
    """Start a process as `subprocess.Popen` does, but by a fork where there is a server for it."""
    start = start_process if server_of(words) is None else ForkedProcess
    return start(words, *arguments, **options)
