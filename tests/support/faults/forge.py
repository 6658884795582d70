"""Engines in quick succession: a process that has imported what they need forks one for each line it is sent.

An engine so started is the real one in a process of its own, without the seconds that its imports take.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.support.disks import ENVIRONMENT

CODE = """
import os, sys
from engine.training import __main__ as engine
engine.quieten()
from engine.training.loop import recipe
from engine.training.runtime import device
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        run, *options = line.rstrip("\\n").split("\\t")
        log = os.open(os.path.join(run, "train.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        sys.argv = ["engine", run, *options]
        code = engine.main()
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forge:
    """Starts engines one after the other; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CODE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, run: Path, *options: str) -> int:
        """The pid of an engine for the run directory."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\t".join([str(run), *options]) + "\n")
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Its exit code, as `subprocess` has it, once it has ended."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def kill(pid: int, signum: int) -> None:
    """Signal an engine that may have ended by itself: it is not reaped before `wait`, so no other is hit."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)
