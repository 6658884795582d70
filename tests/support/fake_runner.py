"""`engine.runner` with the fake engine in the engine's place: `python fake_runner.py WORKSPACE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.files.paths import RunDir, Workspace
from engine.runner.__main__ import main
from engine.spec.round import Round
from engine.store.round_store import RoundStore

RUNNER_COMMAND = [sys.executable, "-P", str(Path(__file__).resolve())]
RECORDED = "recorded"
FAKE_ENGINE = Path(__file__).resolve().with_name("fake_engine.py")


def fake_engine_command(run: RunDir) -> list[str]:
    """How the fake engine of a round is started; resumes where the real one would."""
    resume = ["--resume"] if run.events.exists() else []
    return [sys.executable, "-P", str(FAKE_ENGINE), str(run.path), *resume]


def note_what_is_recorded(workspace: Workspace) -> None:
    """Append number and status to `recorded` in the workspace whenever this process changes a status in the store."""
    update = RoundStore.update

    def noting(self: RoundStore, number: int, *arguments: Any, **changes: Any) -> Round:
        round_ = update(self, number, *arguments, **changes)
        if "status" in changes:
            with (workspace.root / RECORDED).open("a") as file:
                file.write(f"{number} {round_.status}\n")
        return round_

    patch.object(RoundStore, "update", noting).start()  # for as long as this process lives


if __name__ == "__main__":
    note_what_is_recorded(Workspace(Path(sys.argv[1])))
    main(fake_engine_command)
