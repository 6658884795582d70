"""The home of a workspace: the machine and the directory whose runner trains its queue.

A copy of a workspace brings along statuses that are true of the original alone. So `experiments.json` records where its
rounds were queued and trained; anywhere else they are shown as interrupted or held, and nothing is started, until a
person resumes, releases or queues a round there, which makes that place the home.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.errors import RoundError
from engine.files.append import has_second_name
from engine.files.paths import Workspace
from engine.runs.engine_contract import BEAT_SECONDS, last_beat
from engine.spec.round import ACTIVE, Round, Status
from engine.system.locks import is_locked
from engine.system.process import boot_id

MACHINE_ID = Path("/etc/machine-id")  # machine-id(5)
UNFINISHED = ACTIVE | {Status.QUEUED}
FRESH_SECONDS = 12 * BEAT_SECONDS
WATCH_SECONDS = 4 * BEAT_SECONDS


class Home(Struct, frozen=True):
    """A place where a workspace is at home; `host` and `path` are for a person to read.

    Attributes:
        machine: /etc/machine-id, or the host's name where there is none.
        device, inode: those of the workspace's directory, which a move keeps and a copy does not.
    """

    machine: str
    host: str
    path: str
    boot_id: str
    device: int
    inode: int


def home_at(root: Path) -> Home:
    """Return what is recorded for a workspace at `root` on this machine; raises OSError if there is no directory."""
    status = os.stat(root)
    host = socket.gethostname()
    try:
        machine = MACHINE_ID.read_text().strip() or host
    except (OSError, ValueError):
        machine = host
    path = str(root).encode(errors="backslashreplace").decode()  # a name may have bytes that are not UTF-8
    return Home(machine, host, path, boot_id(), status.st_dev, status.st_ino)


def recorded_home(meta: Mapping[str, Any]) -> Home | None:
    """Return the home that is recorded in a store; None in one that an earlier version wrote."""
    try:
        return msgspec.convert(meta.get("home"), Home)
    except msgspec.ValidationError:
        return None


def is_same_directory(recorded: Home, here: Home) -> bool:
    """Return True if both mean one directory; the number of a device may be another after each boot."""
    return recorded.inode == here.inode and (recorded.device == here.device or recorded.boot_id != here.boot_id)


def is_home(recorded: Home, here: Home) -> bool:
    """Return True if both mean one directory on one machine; containers on one kernel are one machine.

    A snapshot of a disk has the inodes of the original. Only its device and its path are others.
    """
    same_machine = recorded.boot_id == here.boot_id or recorded.machine == here.machine
    same_place = recorded.device == here.device or recorded.path == here.path
    return same_machine and is_same_directory(recorded, here) and same_place


class Whereabouts:
    """A workspace as seen from this machine; raises OSError if its directory is gone.

    Attributes:
        here: what to record to make this the home.
    """

    def __init__(
        self, workspace: Workspace, recorded: Home | None, rounds: Callable[[], Iterable[Round]], may_lock: bool
    ) -> None:
        """`rounds` returns the rounds as they are in the store; it is called only if another home is recorded."""
        self._workspace = workspace
        self._recorded = recorded
        self._rounds = rounds
        self._may_lock = may_lock
        self.here = home_at(workspace.root)

    @cached_property
    def at_home(self) -> bool:
        """Return whether this machine may train the queue: it is recorded, or a runner or an engine has a lock here.

        Two workspaces with links to one `runs/`, or two containers with one volume, are told from copies by the lock. A
        lock with a second name says nothing: the copy was made by hard links (`cp -al`), and shares it.
        """
        if self._recorded is not None and is_home(self._recorded, self.here):
            return True
        if not self._may_lock:  # which finding out takes
            return False
        locks = (self._workspace.run_dir(round_.id).lock for round_ in self._rounds() if round_.status in ACTIVE)
        return any(is_locked(path) and not has_second_name(path) for path in (self._workspace.runner_lock, *locks))

    @property
    def is_recorded(self) -> bool:
        return self._recorded == self.here

    @property
    def place(self) -> str:
        """Say where the home is, as seen from here."""
        if self._recorded is None:
            return "elsewhere, or by an earlier version of loratui"
        if self._recorded.path == self.here.path and self._recorded.host == self.here.host:
            return "in another directory, which was here before"
        if self._recorded.machine != self.here.machine or self._recorded.host != self.here.host:
            return f"on {self._recorded.host}"
        return f"in {self._recorded.path}, of which this is a copy"

    def seen(self, round_: Round) -> Round:
        """Return a round as it is here: where the workspace is not at home, nobody trains it, and nothing starts it."""
        if round_.status not in UNFINISHED or self.at_home or self.is_in_training(round_):
            return round_
        if round_.status in ACTIVE:
            message = f"was training {self.place}: resume it to train it here"
            return msgspec.structs.replace(round_, status=Status.INTERRUPTED, message=message, process=None)
        message = f"was queued {self.place}: release it to train it here"
        return msgspec.structs.replace(round_, status=Status.HELD, message=message)

    def check_ended(self, rounds: Iterable[Round]) -> None:
        """Watch the rounds that another machine or user was training in this very directory.

        It takes `WATCH_SECONDS` if there are any. The clock of that machine may be hours from this one's, so that the
        age of a heartbeat says little: a round is being trained if its heartbeat changes.

        Raises:
            RoundError: one of them is still being trained.
        """
        if not self.at_home and self._is_shared:
            watched = [
                (each, beat) for each in rounds if each.status in ACTIVE and (beat := self._beat(each)) is not None
            ]
            deadline = time.monotonic() + WATCH_SECONDS
            while watched and time.monotonic() < deadline:
                time.sleep(WATCH_SECONDS / 40)
                if beating := next((each for each, beat in watched if self._beat(each) != beat), None):
                    raise self._refusal(beating)

    def changes(self, rounds: Iterable[Round]) -> dict[int, dict[str, Any]]:
        """Return the fields to change, by number, so that the store says of each round what is so here.

        Raises:
            RoundError: another machine is training a round in this directory.
        """
        changes = {}
        for round_ in rounds:
            if not self.at_home and self.is_in_training(round_):
                raise self._refusal(round_)
            if (seen := self.seen(round_)) != round_:
                changes[seen.number] = {"status": seen.status, "message": seen.message, "process": seen.process}
        return changes

    def drop_shared_names(self) -> None:
        """Remove the names of locks and heartbeats that a copy by hard links shares; each is made anew when needed."""
        if self.at_home:
            return
        runs = (self._workspace.run_dir(round_.id) for round_ in self._rounds())
        for path in (self._workspace.runner_lock, *(path for run in runs for path in (run.lock, run.heartbeat))):
            if has_second_name(path):
                path.unlink(missing_ok=True)

    def is_in_training(self, round_: Round) -> bool:
        """Return True if another machine or user, who shares this very directory, seems to train the round now."""
        if not self._is_shared or round_.status not in ACTIVE or (beat := self._beat(round_)) is None:
            return False
        return abs(time.time() - beat / 1e9) < FRESH_SECONDS

    @property
    def _is_shared(self) -> bool:
        recorded = self._recorded
        return not self._may_lock if recorded is None else is_same_directory(recorded, self.here)

    def _beat(self, round_: Round) -> int | None:
        return last_beat(self._workspace.run_dir(round_.id))

    def _refusal(self, round_: Round) -> RoundError:
        return RoundError(
            f"round {round_.number} is training {self.place} in this same directory: use loratui there, or stop it "
            f"first"
        )
