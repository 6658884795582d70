"""The runner of a workspace as a front end sees it: it is started when a round waits for it, and missed if it died."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import ProcessError, RunnerStopped, reason_at
from engine.files.paths import Workspace
from engine.runner.launcher import (
    RunnerRestarts,
    StartedRunner,
    needs_runner,
    runner_is_alive,
    stopped_runner,
    why_idle,
)
from engine.store.round_store import RoundStore

Start = Callable[[Workspace], StartedRunner | None]


class WorkspaceRunner:
    """The runner that trains the rounds of `store`; `start` starts one. With `readonly` none is started or missed."""

    def __init__(self, workspace: Workspace, store: RoundStore, start: Start, *, readonly: bool) -> None:
        self._workspace = workspace
        self._store = store
        self._start = start
        self._readonly = readonly
        self._started: StartedRunner | None = None

    def wake(self) -> None:
        """Start the runner if a round waits for it, and this is the home of the workspace.

        Raises:
            ProcessError: none could be started, or the one that is there is stopped.
        """
        if self._readonly or not self._is_needed() or not self._store.is_at_home():
            self._started = None  # nobody misses it
            return
        try:
            started = self._start(self._workspace)
        except OSError as error:
            raise ProcessError(f"no runner could be started, so nothing is trained: {reason_at(error)}") from error
        if started is not None or self.failure():  # else the one that lives is the one started before
            self._started = started
        if started is None and (stopped := stopped_runner(self._workspace)):
            raise RunnerStopped(stopped)

    def failure(self) -> str:
        """Say how the runner that this object started has died; "" if it has not."""
        return self._started.failure() if self._started is not None else ""

    def why_idle(self) -> str:
        """Say that rounds wait although no runner is at work, and how the last one died; "" if that is not so."""
        return "" if self._readonly else why_idle(self._workspace, self._store.rounds())

    def is_at_work(self) -> bool:
        """Return whether a runner trains what is queued; with `readonly` False, as only the lock would tell.

        Raises:
            FileError: the lock cannot be looked at.
        """
        return not self._readonly and runner_is_alive(self._workspace) and not stopped_runner(self._workspace)

    def why_stopped(self) -> str:
        """Say that rounds wait and a signal has stopped the runner; "" if that is not so."""
        return stopped_runner(self._workspace) if self._is_needed() else ""

    def _is_needed(self) -> bool:
        if needs_runner(self._store.rounds()):
            return True
        if not self._workspace.sweeps_dir.exists():
            return False
        from engine.sweeps.progress import wants_trial  # which most workspaces do not need

        return wants_trial(self._workspace, self._store)

    def restarts(self) -> RunnerRestarts:
        """Return what keeps a runner at work for a front end that waits for it."""
        return RunnerRestarts(self.wake, self.failure)
