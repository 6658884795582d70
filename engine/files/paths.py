"""Name the paths of a workspace, a directory with `experiments.json` and `runs/`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_config_path

from engine.errors import FileError, RoundError, reason_of
from engine.files.append import open_to_append

ROUND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
CHECKPOINT_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")  # by the step it was written after


def config_path() -> Path:
    """Return the path of the person's configuration: `~/.config/loratui/config.toml` on Linux."""
    return user_config_path("loratui") / "config.toml"


def current_directory() -> Path:
    """Return the directory that relative paths start from; raises FileError if it has been deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        raise FileError(
            f"this directory cannot be used; it may have been deleted ({reason_of(error)}): "
            "change to another, or name one from / on, such as --workspace /DIR"
        ) from error


def expanded(path: Path) -> Path:
    """Replace `~` and `~NAME` at the beginning, unless there is no such user."""
    return Path(os.path.expanduser(path))


class Workspace:
    """Paths of one workspace; creates nothing.

    Raises:
        FileError: `root` is relative to a directory that has been deleted.
    """

    def __init__(self, root: Path) -> None:
        root = expanded(root)
        self.root = Path(os.path.realpath(root if root.is_absolute() else current_directory() / root))

    @property
    def store_path(self) -> Path:
        return self.root / "experiments.json"

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    @property
    def judgements(self) -> Path:
        """Return the file that records which of two answers a person preferred, one file for all rounds."""
        return self.root / "judgements.jsonl"

    @property
    def conversations_dir(self) -> Path:
        """Return the directory of the conversations with adapters, one file for each."""
        return self.root / "conversations"

    @property
    def sweeps_dir(self) -> Path:
        """Return the directory of the sweeps, one file for each."""
        return self.root / "sweeps"

    @property
    def runner_lock(self) -> Path:
        return self.runs_dir / "runner.lock"

    @property
    def shared_sign(self) -> Path:
        """Return the file that exists if the owner lets the members of the group read the workspace."""
        return self.runs_dir / ".shared"

    @property
    def runner_log(self) -> Path:
        return self.runs_dir / "runner.log"

    def run_dir(self, round_id: str) -> RunDir:
        """Return the run directory of a round; raises RoundError for an id that would lead out of `runs/`."""
        if not ROUND_ID.fullmatch(round_id):
            raise RoundError(f"round id {round_id!r} is not a directory name for {self.runs_dir}: correct it")
        return RunDir(self.runs_dir / round_id)


class RunDir:
    """Paths of one run directory, the truth about its round; an engine works in it, by relative paths."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Return the name of the directory, the id of its round."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def workspace_root(self) -> Path:
        """Return the directory of the workspace, two levels up, wherever the run directory is now."""
        return Path(os.path.abspath(self.path)).parent.parent

    def check(self) -> None:
        """Raise RoundError if anything that is written or deleted in it is a link, which may lead anywhere."""
        directories = (self.adapter, self.checkpoints, self.scores, self.answers, self.evaluations)
        for path in (self.spec, self.events, self.log, *directories):
            if path.is_symlink():
                raise RoundError(
                    f"{os.path.abspath(path)} is a link, and links are not followed here: replace it with what it "
                    f"points to"
                )

    def open_log(self) -> BinaryIO:
        """Open the log to append to; raises OSError if it is a link or the disk refuses."""
        return open(open_to_append(self.log), "ab")

    @property
    def spec(self) -> Path:
        """Return the file of the round as it was queued: id, number, name, note, parent, spec and plan."""
        return self.path / "spec.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def steps(self) -> Path:
        """Return the file of the steps of `events` as columns; it only saves time, and is not used if it is a link."""
        return self.path / "steps.bin"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def scores(self) -> Path:
        """Return the directory of the scores of each held-out row, one file for each evaluation."""
        return self.path / "scores"

    @property
    def answers(self) -> Path:
        """Return the directory of the model's answers to held-out prompts, one file for each scoring."""
        return self.path / "answers"

    @property
    def evaluations(self) -> Path:
        """Return the directory of evaluations of the adapter on other data than the round's own."""
        return self.path / "evaluations"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Return the directory of the checkpoint after `step`, which may not exist."""
        return self.checkpoints / f"checkpoint-{step}"

    @property
    def heartbeat(self) -> Path:
        """Return the file that the engine touches every few seconds."""
        return self.path / "heartbeat"

    @property
    def lock(self) -> Path:
        """Return the lock that the engine of the round holds, so that no second engine trains it."""
        return self.path / "engine.lock"
