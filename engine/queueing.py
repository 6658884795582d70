"""Queue a round: its run directory first, which is the truth about it, then its record in the store."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Sequence

from engine.errors import StoreError, reason_of
from engine.files.atomic import write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import RunDir, Workspace
from engine.preflight import checks
from engine.runs.spec_file import QueuedRound, encode_queued
from engine.spec.annotations import check_text
from engine.spec.portable import with_portable_paths
from engine.spec.round import Prediction, Round, Status, Trial
from engine.spec.schema import Spec
from engine.store.documents import new_round
from engine.store.round_store import RoundStore


def queue_round(
    workspace: Workspace,
    store: RoundStore,
    spec: Spec,
    *,
    name: str = "",
    note: str = "",
    parent: int | None = None,
    hold: bool = False,
    warnings: Sequence[str] = (),
    predicted: Prediction | None = None,
    trial: Trial | None = None,
) -> Round:
    """Check `spec`, give it a number and a run directory, and queue it; with `hold` it is held.

    The round keeps `warnings` beside those of the check, what was `predicted` of it, and its part in a sweep.

    Raises:
        LoratuiError: nothing was queued.
    """
    checked = checks.check(spec)
    check_text(spec, name, note)
    run_dirs: list[RunDir] = []
    stored_spec = with_portable_paths(spec, workspace.root)

    def make(number: int) -> Round:
        queued = QueuedRound(
            id=f"{number:04d}-{secrets.token_hex(4)}",
            number=number,
            name=name,
            note=note,
            parent=parent,
            created=time.time(),
            plan=checked.plan,
            spec=stored_spec,
            predicted=predicted,
            trial=trial,
        )
        run_dirs.append(_write_run_dir(workspace, queued))
        return new_round(queued, Status.HELD if hold else Status.QUEUED, (*checked.warnings, *warnings))

    store.make_home_here()
    try:
        return store.add(make)
    except BaseException:
        for run in run_dirs:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _write_run_dir(workspace: Workspace, queued: QueuedRound) -> RunDir:
    run = workspace.run_dir(queued.id)
    try:
        make_directory(run.path, parents=True)
        write_atomically(run.spec, encode_queued(queued))
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise StoreError(f"{run.path} could not be written, nothing was queued: {reason_of(error)}") from error
    return run
