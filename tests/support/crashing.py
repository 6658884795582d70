"""`python -m tests.support.crashing N queue|runner WORKSPACE`: a process that ends itself by SIGKILL at the Nth line.

`queue` queues the spec in `spec.json` of the workspace and starts a runner, as a front end does; `runner` is one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from engine import api
from engine.api import Cockpit
from engine.files import atomic
from engine.files.paths import Workspace
from engine.runner import engine_process, liveness, queue, workspace_runner
from engine.runner.queue import Runner
from engine.spec.schema import decode_spec
from engine.store import round_store, store_file
from engine.system import process
from tests.support.fake_runner import fake_engine_command
from tests.support.processes import start_fake_runner

TRACED = {
    "queue": (api, workspace_runner, round_store, store_file, atomic, queue, process),
    "runner": (engine_process, process, liveness, queue),
}
ENTRY = {"queue": "queue", "runner": "_start"}  # lines count from the first call of a function of this name


class Fuse:
    """A trace function that ends the process at the `count`th line."""

    def __init__(self, count: int, what: str) -> None:
        self._left = count
        self._files = {str(module.__file__) for module in TRACED[what]}
        self._entry = ENTRY[what]
        self._lit = False

    def trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in self._files:
            return None
        self._lit = self._lit or frame.f_code.co_name == self._entry
        if self._lit and event == "line":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


def main() -> None:
    count, what, workspace = int(sys.argv[1]), sys.argv[2], Workspace(Path(sys.argv[3]))
    spec = decode_spec(msgspec.json.decode((workspace.root / "spec.json").read_bytes()))
    cockpit = Cockpit(workspace, start_fake_runner)
    sys.settrace(Fuse(count, what).trace)
    if what == "queue":
        cockpit.queue(spec)
    else:
        Runner(workspace, fake_engine_command).run()


if __name__ == "__main__":
    main()
