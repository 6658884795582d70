"""Where things lie: a workspace is a directory with `experiments.json` and `runs/`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from engine.errors import RoundError

FILE_MODE = 0o640  # of what is made in a workspace; the umask decides whether the group may read it
ROUND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
CHECKPOINT_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")  # by the step it was written after


class Workspace:
    """Paths of one workspace. Makes nothing by itself."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    @property
    def store_path(self) -> Path:
        return self.root / "experiments.json"

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    @property
    def judgements(self) -> Path:
        """Which of two answers a person preferred, one file for all rounds, whose names are not in its own."""
        return self.root / "judgements.jsonl"

    @property
    def conversations_dir(self) -> Path:
        """What was said to adapters, a file for each conversation."""
        return self.root / "conversations"

    @property
    def runner_lock(self) -> Path:
        return self.runs_dir / "runner.lock"

    @property
    def shared_sign(self) -> Path:
        """There if the owner lets the members of the group read the workspace."""
        return self.runs_dir / ".shared"

    @property
    def runner_log(self) -> Path:
        return self.runs_dir / "runner.log"

    def run_dir(self, round_id: str) -> RunDir:
        """The run directory of a round; raises RoundError for an id, read from a file, that leads elsewhere."""
        if not ROUND_ID.fullmatch(round_id):
            raise RoundError(f"round id {round_id!r} is no name for a directory in {self.runs_dir}: correct it")
        return RunDir(self.runs_dir / round_id)


class RunDir:
    """Paths of one run directory, the truth about its round."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raise RoundError if what is written or deleted in it is a link, which leads who knows where."""
        kept = (self.adapter, self.checkpoints, self.scores, self.answers, self.evaluations)
        for path in (self.spec, self.events, self.log, *kept):
            if path.is_symlink():
                raise RoundError(f"{path} is a link, which is never followed: put what it leads to in its place")

    def open_log(self) -> BinaryIO:
        """The log, to append to; raises OSError for a link in its place, or if the disk refuses."""
        return open(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE), "ab")

    @property
    def spec(self) -> Path:
        """The round as it was queued: id, number, name, note, parent, spec and plan."""
        return self.path / "spec.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def steps(self) -> Path:
        """The steps of `events` as columns: it only saves time, and a run does without it where it is a link."""
        return self.path / "steps.bin"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def scores(self) -> Path:
        """What each held-out example scored, a file for each evaluation."""
        return self.path / "scores"

    @property
    def answers(self) -> Path:
        """What the model answered to held-out prompts, a file for each time it was asked."""
        return self.path / "answers"

    @property
    def evaluations(self) -> Path:
        """How the adapter scored on other data than the round's own."""
        return self.path / "evaluations"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after `step` lies, if there is one."""
        return self.checkpoints / f"checkpoint-{step}"

    @property
    def heartbeat(self) -> Path:
        """Touched by the engine every few seconds for as long as it can."""
        return self.path / "heartbeat"

    @property
    def lock(self) -> Path:
        """Held by the engine that trains the round, so that there is never a second one."""
        return self.path / "engine.lock"
