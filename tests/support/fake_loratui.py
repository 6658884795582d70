"""`loratui` with the fake engine behind it: `python fake_loratui.py [ARGUMENTS]`."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.files.paths import Workspace
from engine.runner.launcher import StartedRunner, start_runner
from tui.cli.main import main

FRONT_END_COMMAND = [sys.executable, "-P", str(Path(__file__).resolve())]
RUNNER_COMMAND = [sys.executable, "-P", str(Path(__file__).resolve().with_name("fake_runner.py"))]


def start(workspace: Workspace) -> StartedRunner | None:
    return start_runner(workspace, RUNNER_COMMAND)


if __name__ == "__main__":
    sys.exit(main(start=start))
