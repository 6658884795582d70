"""`engine.runner` with the fake engine in the engine's place: `python fake_runner.py WORKSPACE`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from engine.runner import Runner
from engine.workspace import RunDir, Workspace

RUNNER_COMMAND = [sys.executable, "-P", str(Path(__file__).resolve())]
FAKE_ENGINE = Path(__file__).resolve().with_name("fake_engine.py")


def fake_engine_command(run: RunDir) -> list[str]:
    """How the fake engine of a round is started; resumes where the real one would."""
    resume = ["--resume"] if run.events.exists() else []
    return [sys.executable, "-P", str(FAKE_ENGINE), str(run.path), *resume]


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Runner(Workspace(Path(sys.argv[1])), fake_engine_command).run()


if __name__ == "__main__":
    main()
