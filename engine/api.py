"""The operations of a workspace: queue, move, stop, resume, hold, release, remove, annotate, rebuild.

The app and the command line are two front ends over them; neither has a copy of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import LoratuiError, RoundError, SpecError, StoreError, reason_of
from engine.files.atomic import sweep, write_atomically
from engine.files.drafts import Drafts
from engine.files.paths import Workspace
from engine.files.permissions import share, unshare
from engine.preflight.initial_adapter import KEY as INITIAL_ADAPTER
from engine.runner.launcher import start_runner
from engine.runner.workspace_runner import Start, WorkspaceRunner
from engine.runs.spec_file import encode_queued, read_queued
from engine.spec.annotations import check_text, checked_tags
from engine.spec.portable import with_absolute_paths
from engine.spec.round import ACTIVE, RESUMABLE, WAITING, Prediction, Round, Status, in_queue_order, turns_in_order
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from engine.store.trash import Removed, delete_for_good, run_bytes

if TYPE_CHECKING:
    from engine.sweeps.sweeps import Sweeps

ROUND_NUMBER = re.compile(r"[0-9]{1,9}")
STALE_SECONDS = 3600.0  # a temporary file of this age belongs to a process that was killed


class Cockpit:
    """One workspace as a front end sees it. `start` starts the runner; tests pass their own.

    With `readonly` it can only be looked at: no runner is started, and nothing is written or locked.

    Attributes:
        store: the rounds.
        drafts: what was typed and not saved.
        runner: the process that trains the queue.

    Raises:
        ReadOnly: from every method that would change something, if `readonly`.
        LoratuiError: from every method, in one sentence; a failed method has changed nothing.
    """

    def __init__(self, workspace: Workspace, start: Start = start_runner, *, readonly: bool = False) -> None:
        self.workspace = workspace
        self.readonly = readonly
        self.store = RoundStore(workspace, readonly=readonly)
        self.drafts = Drafts(workspace.root, self.store.identity)
        self.runner = WorkspaceRunner(workspace, self.store, start, readonly=readonly)

    @cached_property
    def sweeps(self) -> Sweeps:
        """The sweeps: questions put to many rounds."""
        from engine.sweeps.sweeps import Sweeps  # which the table of rounds does not need

        return Sweeps(self.workspace, self.store, self.runner.wake)

    def resolve_paths(self, spec: Spec, directory: Path) -> Spec:
        """Make the local paths of `spec` absolute, from `directory`, and a round to start from its adapter's directory.

        Raises:
            SpecError: there is no such round.
        """
        start = spec.lora.initial_adapter
        if start is not None and ROUND_NUMBER.fullmatch(start):
            try:
                adapter = self.workspace.run_dir(self.store.get(int(start)).id).adapter
            except LoratuiError as error:
                raise SpecError(f"{INITIAL_ADAPTER} is {start}: {error.message}", INITIAL_ADAPTER) from error
            lora = msgspec.structs.replace(spec.lora, initial_adapter=str(adapter))
            spec = msgspec.structs.replace(spec, lora=lora)
        return with_absolute_paths(spec, directory)

    def queue(
        self,
        spec: Spec,
        *,
        name: str = "",
        note: str = "",
        parent: int | None = None,
        hold: bool = False,
        warnings: Sequence[str] = (),
        predicted: Prediction | None = None,
    ) -> Round:
        """Check `spec`, give it a number and a run directory, and queue it; with `hold` it is held.

        The round keeps `warnings` beside those of the check, and what was `predicted` of it.
        """
        from engine.queueing import queue_round  # with checks that who only looks does not need

        round_ = queue_round(
            self.workspace, self.store, spec,
            name=name, note=note, parent=parent, hold=hold, warnings=warnings, predicted=predicted,
        )  # fmt: skip
        with suppress(LoratuiError):  # it is queued; the front end says so when no runner is at work
            self.runner.wake()
        return round_

    def stop(self, number: int) -> Round:
        """Stop a round: a queued one at once, a running one after its step, with adapter and checkpoint saved."""
        try:
            return self.store.update(
                number, WAITING, status=Status.STOPPED, message="stopped before it started", ended=time.time()
            )
        except RoundError:  # it is running by now
            round_ = self.store.update(number, frozenset({Status.RUNNING}), status=Status.STOPPING)
        self.runner.wake()  # it stops the engine, and may have died
        return round_

    def resume(self, number: int) -> Round:
        """Queue a round that ended early again, at the end; it continues from its newest valid checkpoint."""
        self.store.make_home_here()
        round_ = self.store.update(number, RESUMABLE, status=Status.QUEUED, message="", ended=None, turn=time.time())
        self.runner.wake()
        return round_

    def waiting(self) -> list[Round]:
        """Return the queue: rounds that are queued or held, in their order."""
        return in_queue_order(round_ for round_ in self.store.rounds() if round_.status in WAITING)

    def move(self, number: int, place: int) -> Round:
        """Move a waiting round to a position in the queue: 1 is the next to run, a number past the end is the end.

        Raises:
            RoundError: it does not wait, or the position is below 1.
        """
        if place < 1:
            raise RoundError(f"place {place} is not in the queue: 1 is the next to run")
        return self._reorder(number, lambda _: place - 1)

    def shift(self, number: int, by: int) -> Round:
        """Move a waiting round `by` positions back in the queue, or forward by a negative number.

        Raises:
            RoundError: it does not wait.
        """
        return self._reorder(number, lambda index: max(0, index + by))

    def _reorder(self, number: int, new_index: Callable[[int], int]) -> Round:
        def turns(rounds: list[Round]) -> dict[int, dict[str, Any]]:
            waiting = in_queue_order(round_ for round_ in rounds if round_.status in WAITING)
            index = next((index for index, round_ in enumerate(waiting) if round_.number == number), None)
            if index is None:
                raise RoundError(f"round {number} does not wait in the queue: `loratui queue` lists those that do")
            moved = waiting.pop(index)
            waiting.insert(new_index(index), moved)
            return turns_in_order(waiting)

        return next(round_ for round_ in self.store.update_each(turns) if round_.number == number)

    def hold(self, number: int) -> Round:
        """Hold a queued round, so that it is not started."""
        return self.store.update(number, frozenset({Status.QUEUED}), status=Status.HELD)

    def release(self, number: int) -> Round:
        """Queue a held round."""
        self.store.make_home_here()
        round_ = self.store.update(number, frozenset({Status.HELD}), status=Status.QUEUED)
        self.runner.wake()
        return round_

    def run_next(self, number: int) -> Round:
        """Put a waiting round first in the queue, and release it if it is held."""
        round_ = self.move(number, 1)
        return self.release(number) if round_.status is Status.HELD else round_

    def remove(self, number: int) -> Round:
        """Move a round to the trash, where `restore` finds it for a week; a running one must be stopped first."""
        self.workspace.run_dir(self.store.get(number).id)  # whose id must be the name of a directory
        return self.store.remove(number, forbidden=ACTIVE)

    def restore(self, number: int) -> Round:
        """Restore a removed round as it was; raises RoundError if it is not in the trash."""
        round_ = self.store.restore(number)
        self.runner.wake()  # it may have been queued
        return round_

    def trash(self) -> list[Removed]:
        """Return the rounds in the trash, the last removed one first."""
        now = time.time()
        return sorted((each.corrected(now) for each in self.store.removed()), key=lambda removed: -removed.removed)

    def trash_bytes(self) -> int:
        """Return how much of the disk the trash occupies."""
        return sum(run_bytes(self.workspace, removed) for removed in self.store.removed())

    def empty_trash(self, removed: Sequence[Removed] | None = None) -> list[Removed]:
        """Delete rounds in the trash for good, all of them unless some are given; return those that it deleted.

        Raises:
            LoratuiError: a run directory could not be deleted, after the others were; or none could.
        """
        to_delete = self.trash() if removed is None else list(removed)
        if not to_delete:
            return []
        delete_for_good(self.workspace, to_delete, lambda: self.store.forget(each.number for each in to_delete))
        return to_delete

    def purge_trash(self) -> None:
        """Delete for good what has been in the trash for a week; does nothing where the workspace is not at home.

        A front end calls it when it starts, never when it ends: a terminal that dies must not delete anything. Nor may
        a clock that is far ahead today, so the first call after the week only notes it, and one a day later deletes.
        """
        if not self.readonly and self.store.is_at_home() and self.workspace.runs_dir.exists():
            self.store.redate_removed()
            self.empty_trash([removed for removed in self.store.removed() if removed.is_due(time.time())])

    def annotate(
        self,
        number: int,
        *,
        name: str | None = None,
        note: str | None = None,
        tags: Sequence[str] | None = None,
        pinned: bool | None = None,
    ) -> Round:
        """Change the name, note, tags or pin of a round, in the store and in its run directory; None changes nothing.

        Raises:
            SpecError: a tag is empty or has a space in it, or a text is not UTF-8 or contains a token.
        """
        new_values: dict[str, Any] = {
            "name": name,
            "note": note,
            "tags": None if tags is None else checked_tags(tags),
            "pinned": pinned,
        }
        changes = {key: value for key, value in new_values.items() if value is not None}
        check_text(*changes.values())
        run = self.workspace.run_dir(self.store.get(number).id)
        round_ = self.store.update(number, **changes)
        if run.spec.is_file():
            try:
                queued, fields = read_queued(run)
                write_atomically(run.spec, encode_queued(msgspec.structs.replace(queued, **changes), fields))
                sweep(run.spec, changed_before=run.spec.stat().st_mtime - STALE_SECONDS)
            except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
                raise StoreError(
                    f"the change of round {number} is saved in experiments.json, but not in {run.spec}: "
                    f"{reason_of(error)}"
                ) from error
        return round_

    def share(self) -> str:
        """Let the members of the directory's group read the workspace; returns the group's name."""
        self.store.check_writable()
        return share(self.workspace)

    def unshare(self) -> None:
        """Let only the owner read the workspace."""
        self.store.check_writable()
        unshare(self.workspace)

    def rebuild(self) -> tuple[int, Path | None]:
        """Write `experiments.json` again: its valid rounds, its backup's where one is broken, and those of `runs/`.

        Returns:
            The number of rounds now, and the path of the old file (None if there was none).
        """
        return self.store.rebuild()
