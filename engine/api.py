"""What a front end may do to a workspace: queue, move, stop, resume, hold, release, remove, annotate, rebuild.

The TUI and the command line are two front ends over these; neither has its own copy.
"""

from __future__ import annotations

import math
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import LoratuiError, RoundError, SpecError, StoreError, reason_of
from engine.files.atomic import sweep, write_atomically
from engine.files.paths import RunDir, Workspace
from engine.files.permissions import share, unshare
from engine.preflight import checks
from engine.runner.launcher import needs_runner, start_runner
from engine.runs.spec_file import QueuedRound, encode_queued, read_queued
from engine.spec.round import ACTIVE, RESUMABLE, WAITING, Round, Status, in_queue_order
from engine.spec.schema import Spec
from engine.store.documents import new_round
from engine.store.round_store import RoundStore
from engine.store.trash import Removed
from engine.text.redact import holds_secret

LEFT_SECONDS = 3600.0  # a temporary file of this age is nobody's any more
REMOVED_SECONDS = 86400.0  # a front end that was killed leaves what it removed: kept so long, in case it is missed


class Cockpit:
    """One workspace as a front end sees it. `start` brings the runner up; tests pass their own.

    With `readonly` it can be looked at and nothing else: no runner is started, and nothing is written or locked.

    Raises:
        ReadOnly: from every method that would change something, where `readonly`.
        LoratuiError: from every method, in one sentence, with nothing half done.
    """

    def __init__(
        self, workspace: Workspace, start: Callable[[Workspace], None] = start_runner, *, readonly: bool = False
    ) -> None:
        self.workspace = workspace
        self.readonly = readonly
        self.store = RoundStore(workspace, readonly=readonly)
        self._start = start
        self._removed: set[int] = set()

    def queue(
        self, spec: Spec, *, name: str = "", note: str = "", parent: int | None = None, hold: bool = False
    ) -> Round:
        """Check `spec`, give it a number and a run directory, and queue it, or keep it held."""
        checked = checks.check(spec)
        _check_text(spec, name, note)
        made: list[RunDir] = []

        def make(number: int) -> Round:
            queued = QueuedRound(
                id=f"{number:04d}-{secrets.token_hex(4)}",
                number=number,
                name=name,
                note=note,
                parent=parent,
                created=time.time(),
                plan=checked.plan,
                spec=spec,
            )
            made.append(self._write_run_dir(queued))
            return new_round(queued, Status.HELD if hold else Status.QUEUED, checked.warnings)

        try:
            round_ = self.store.add(make)
        except BaseException:
            for run in made:
                shutil.rmtree(run.path, ignore_errors=True)
            raise
        with suppress(LoratuiError):  # it is queued; the front end tells when it finds no runner
            self.wake_runner()
        return round_

    def wake_runner(self) -> None:
        """Start the runner if there is something for it to do."""
        if not self.readonly and needs_runner(self.store.rounds()):
            try:
                self._start(self.workspace)
            except OSError as error:
                raise LoratuiError(f"no runner could be started, so nothing is trained: {reason_of(error)}") from error

    def stop(self, number: int) -> Round:
        """End a round: a queued one at once, a running one after its step, with adapter and checkpoint saved."""
        try:
            return self.store.update(
                number, WAITING, status=Status.STOPPED, message="stopped before it began", ended=time.time()
            )
        except RoundError:  # it runs, perhaps since a moment ago
            round_ = self.store.update(number, frozenset({Status.RUNNING}), status=Status.STOPPING)
        self.wake_runner()  # who passes it on, and may have died
        return round_

    def resume(self, number: int) -> Round:
        """Queue a round again that ended early, behind all others; it continues from its newest valid checkpoint."""
        round_ = self.store.update(number, RESUMABLE, status=Status.QUEUED, message="", ended=None, turn=time.time())
        self.wake_runner()
        return round_

    def waiting(self) -> list[Round]:
        """The queue: rounds that are queued or held, as their turns come."""
        return in_queue_order(item for item in self.store.rounds() if item.status in WAITING)

    def move(self, number: int, place: int) -> Round:
        """Put a waiting round at a place of the queue, 1 being the next to run; past the end is the end.

        Raises:
            RoundError: it does not wait, or there is no such place.
        """
        if place < 1:
            raise RoundError(f"place {place} is not in the queue: 1 is the next to run")
        return self._reorder(number, lambda _: place - 1)

    def shift(self, number: int, by: int) -> Round:
        """Let a waiting round come so many places later in the queue, or earlier by a negative number.

        Raises:
            RoundError: it does not wait.
        """
        return self._reorder(number, lambda index: max(0, index + by))

    def _reorder(self, number: int, new_index: Callable[[int], int]) -> Round:
        def turns(rounds: list[Round]) -> dict[int, dict[str, Any]]:
            waiting = in_queue_order(item for item in rounds if item.status in WAITING)
            index = next((index for index, item in enumerate(waiting) if item.number == number), None)
            if index is None:
                raise RoundError(f"round {number} does not wait in the queue: `loratui queue` lists those that do")
            moved = waiting.pop(index)
            waiting.insert(new_index(index), moved)
            return _turns_in_order(waiting)

        return next(item for item in self.store.update_each(turns) if item.number == number)

    def hold(self, number: int) -> Round:
        """Keep a queued round from being started."""
        return self.store.update(number, frozenset({Status.QUEUED}), status=Status.HELD)

    def release(self, number: int) -> Round:
        """Queue a held round."""
        round_ = self.store.update(number, frozenset({Status.HELD}), status=Status.QUEUED)
        self.wake_runner()
        return round_

    def run_next(self, number: int) -> Round:
        """Put a waiting round first in the queue, and release it if it is held."""
        round_ = self.move(number, 1)
        return self.release(number) if round_.status is Status.HELD else round_

    def remove(self, number: int) -> Round:
        """Take a round out of the table; one that runs must be stopped first.

        `restore` brings it back with all that is in its run directory, until `purge` deletes that.
        """
        self._refuse_links(number, self.store.get(number).id)
        round_ = self.store.remove(number, forbidden=ACTIVE)
        self._removed.add(number)
        return round_

    def restore(self, number: int) -> Round:
        """Bring back a round that was removed, as it was; raises RoundError if it is deleted for good."""
        round_ = self.store.restore(number)
        self._removed.discard(number)
        self.wake_runner()  # it may have been queued
        return round_

    def purge(self) -> None:
        """Delete for good the rounds that were removed here, and those removed elsewhere `REMOVED_SECONDS` ago.

        A front end calls it when it is left: what is deleted can be brought back until then.
        """
        if self.readonly:
            return
        before = time.time() - REMOVED_SECONDS
        gone = [item for item in self.store.removed() if item.number in self._removed or item.removed < before]
        if not gone:
            return
        self.store.forget(item.number for item in gone)
        self._removed.clear()
        errors = [error for item in gone if (error := self._delete_run(item)) is not None]
        if errors:
            raise errors[0]

    def _delete_run(self, item: Removed) -> LoratuiError | None:
        """Delete a run directory; what stands against it comes back, so that others are deleted all the same."""
        try:
            self._refuse_links(item.number, item.id)
            path = self.workspace.run_dir(item.id).path
            if path.is_dir():
                shutil.rmtree(path)
        except OSError as error:
            return StoreError(f"round {item.number} is deleted, but {path} could not be: {reason_of(error)}")
        except LoratuiError as error:
            return error
        return None

    def _refuse_links(self, number: int, round_id: str) -> None:
        for path in (self.workspace.runs_dir, self.workspace.run_dir(round_id).path):
            if path.is_symlink():
                raise RoundError(
                    f"{path} is a link, which is never followed: delete it yourself, then remove round {number}"
                )

    def annotate(
        self,
        number: int,
        *,
        name: str | None = None,
        note: str | None = None,
        tags: Sequence[str] | None = None,
        pinned: bool | None = None,
    ) -> Round:
        """Change what the person says of a round, in the table and in its run directory; None leaves it as it is.

        Raises:
            SpecError: a tag that is empty or has a space in it, or text that is no UTF-8 or holds a token.
        """
        given: dict[str, Any] = {
            "name": name,
            "note": note,
            "tags": None if tags is None else _checked_tags(tags),
            "pinned": pinned,
        }
        changes = {key: value for key, value in given.items() if value is not None}
        _check_text(*changes.values())
        run = self.workspace.run_dir(self.store.get(number).id)
        round_ = self.store.update(number, **changes)
        if run.spec.is_file():
            try:
                sweep(run.spec, age_seconds=LEFT_SECONDS)
                queued, fields = read_queued(run)
                write_atomically(run.spec, encode_queued(msgspec.structs.replace(queued, **changes), fields))
            except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
                raise StoreError(
                    f"what was changed of round {number} is in the table, but not in {run.spec}: {reason_of(error)}"
                ) from error
        return round_

    def share(self) -> str:
        """Let the members of the directory's group read the workspace; returns the group's name."""
        self.store.check_writable()
        return share(self.workspace)

    def unshare(self) -> None:
        """Let nobody but the owner read the workspace any more."""
        self.store.check_writable()
        unshare(self.workspace)

    def rebuild(self) -> tuple[int, Path | None]:
        """Make `experiments.json` anew: its rounds where they hold together, else from its backup, and from `runs/`.

        Returns:
            How many rounds there are now, and where the old file was put aside (None if there was none).
        """
        return self.store.rebuild()

    def _write_run_dir(self, queued: QueuedRound) -> RunDir:
        run = self.workspace.run_dir(queued.id)
        try:
            run.path.mkdir(parents=True)
            write_atomically(run.spec, encode_queued(queued))
        except OSError as error:
            shutil.rmtree(run.path, ignore_errors=True)
            raise StoreError(f"{run.path} could not be written, nothing was queued: {reason_of(error)}") from error
        return run


def _turns_in_order(waiting: list[Round]) -> dict[int, dict[str, Any]]:
    """The turns to give so that rounds come in this order; the same turns as they have, as far as they differ."""
    turns = sorted(item.turn or 0.0 for item in waiting)
    for index in range(1, len(turns)):
        turns[index] = max(turns[index], math.nextafter(turns[index - 1], math.inf))
    return {item.number: {"turn": turn} for item, turn in zip(waiting, turns, strict=True)}


def _checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    for tag in tags:
        if tag.split() != [tag]:
            raise SpecError(
                f"tag {tag!r} is no single word: write it without spaces, such as {'-'.join(tag.split())!r}"
            )
    return tuple(dict.fromkeys(tags))


def _check_text(*texts: object) -> None:
    try:
        encoded = msgspec.json.encode(texts)
    except UnicodeEncodeError as error:
        raise SpecError(f"{error.object!r} is not valid UTF-8 text: write it anew") from error
    if holds_secret(encoded.decode()):
        raise SpecError(
            "a token or a password stands in the spec, the name or the note, which may be passed on: take it out, and "
            "set it in the environment, as HF_TOKEN for example"
        )
