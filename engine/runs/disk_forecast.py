"""Whether the checkpoints of a run that are still to come fit onto the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil
from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs.events import Prepared
from engine.spec.plan import Checkpoints, plan_checkpoints
from engine.spec.round import Round
from engine.text.humanize import format_bytes

FLOAT32_BYTES = 4  # an adapter is trained in float32, whatever the base model is held in
MOMENTS = 2  # Adam's, of the same type as what it trains
CHECKPOINT = "checkpoint-"
TRAINING_STATE = "training_state.safetensors"  # what a checkpoint has and an adapter has not


class DiskNeed(Struct, frozen=True):
    """What a run will still write and keep.

    Attributes:
        checkpoints: how many more there will be on the disk at once than there are now.
        checkpoint_bytes, adapter_bytes: of one checkpoint, and of the adapter at the end.
        measured: whether they are the sizes of the newest checkpoint, or an estimate from the trained parameters.
    """

    checkpoints: int
    checkpoint_bytes: int
    adapter_bytes: int
    measured: bool

    @property
    def total_bytes(self) -> int:
        return self.checkpoints * self.checkpoint_bytes + self.adapter_bytes


def disk_need(round_: Round, prepared: Prepared | None, step: int, directory: RunDir) -> DiskNeed | None:
    """What a run that has come to `step` will still write; None as long as it is not prepared.

    Looks at the disk, so not for a UI thread.
    """
    if prepared is None:
        return None
    # as the engine counts the steps, which may not be as they were planned
    planned = plan_checkpoints(round_.spec.train, prepared.steps_per_epoch, prepared.total_steps)
    there = _checkpoints_in(directory.checkpoints)
    sizes = _file_sizes(there[max(there)]) if there else {}
    if measured := bool(sizes):
        checkpoint = sum(sizes.values())
        adapter = checkpoint - sizes.get(TRAINING_STATE, 0)
    else:
        adapter = FLOAT32_BYTES * prepared.trainable_parameters
        checkpoint = (1 + MOMENTS) * adapter
    train = round_.spec.train
    to_come = checkpoints_after(planned, step)
    more = growth(to_come, len(there), train.save_total_limit, train.load_best_model_at_end)
    return DiskNeed(more, checkpoint, adapter, measured)


def growth(to_come: int, there: int, limit: int | None, keeps_best: bool) -> int:
    """How many more checkpoints there will be at once.

    With `limit`, `train.save_total_limit`, an old one goes only once a new one is written, and the best stays beside
    them.
    """
    if limit is None:
        return to_come
    return min(to_come, max(0, limit + keeps_best + 1 - there))


def checkpoints_after(planned: Checkpoints, step: int) -> int:
    """How many of them come after `step`, without going through them."""
    if step <= 0:
        return len(planned)
    until = Checkpoints(planned.every, (*(single for single in planned.besides if single < step), step))
    return len(planned) - len(until) + (step not in planned)


def free_bytes(directory: Path) -> int | None:
    """What this user may still write on the file system of `directory`; None if it cannot be asked."""
    try:
        return psutil.disk_usage(str(directory)).free
    except OSError:
        return None


def shortage(needs: Sequence[DiskNeed], free: int | None, directory: Path) -> str:
    """One sentence on what will not fit of what the running rounds still write, or ""."""
    total = sum(need.total_bytes for need in needs)
    if free is None or total <= free:
        return ""
    basis = "as large as the newest" if all(need.measured for need in needs) else "estimated from what is trained"
    checkpoints = sum(need.checkpoints for need in needs)
    some = f"{checkpoints:,} more checkpoint{'s' * (checkpoints != 1)} and the adapter"
    if len(needs) > 1:
        some += f"s of {len(needs)} rounds"
    return (
        f"the disk will be full before the end: {some} take {format_bytes(total)} ({basis}), and {format_bytes(free)} "
        f"are left at {directory}: free some space"
    )


def _checkpoints_in(directory: Path) -> dict[int, Path]:
    """By their step; one has its name only once it is whole."""
    try:
        names = os.listdir(directory)
    except OSError:
        return {}
    steps = ((name.removeprefix(CHECKPOINT), name) for name in names if name.startswith(CHECKPOINT))
    return {int(step): directory / name for step, name in steps if step.isdecimal() and step.isascii()}


def _file_sizes(directory: Path) -> dict[str, int]:
    """Bytes of each file, empty if there is no such directory any more."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file()}
    except OSError:
        return {}
