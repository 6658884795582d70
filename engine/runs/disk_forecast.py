"""Estimate whether the checkpoints that a run still has to write fit on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from engine.files.paths import RunDir
from engine.runs.checkpoints import TENSORS, checkpoints_in
from engine.runs.events import Prepared
from engine.spec.plan import PlannedSteps, plan_checkpoints
from engine.spec.round import Round
from engine.spec.schema import TrainSpec
from engine.text.humanize import format_bytes

FLOAT32_BYTES = 4  # an adapter is trained in float32, whatever the base model is held in
# What an optimizer keeps for each trained parameter: one or two moments, in float32 or 8 bits. Adafactor keeps sums of
# rows and columns, next to nothing; bitsandbytes holds small matrices in float32, which are next to nothing too.
STATE_BYTES = {
    "adamw_torch_fused": 8,
    "adamw_torch": 8,
    "adamw_8bit": 2,
    "paged_adamw_8bit": 2,
    "paged_adamw_32bit": 8,
    "adafactor": 0,
    "lion_32bit": 4,
    "lion_8bit": 1,
    "paged_lion_8bit": 1,
}


class DiskNeed(Struct, frozen=True):
    """Disk space that a run still needs.

    Attributes:
        checkpoints: how many more checkpoints the disk will hold at once than it holds now.
        checkpoint_bytes, adapter_bytes: size of one checkpoint, and of the adapter at the end.
        measured: True if these are the sizes of the newest checkpoint, False if estimated from the trained parameters.
    """

    checkpoints: int
    checkpoint_bytes: int
    adapter_bytes: int
    measured: bool

    @property
    def total_bytes(self) -> int:
        return self.checkpoints * self.checkpoint_bytes + self.adapter_bytes


def disk_need(round_: Round, prepared: Prepared | None, step: int, directory: RunDir) -> DiskNeed | None:
    """Return the disk space that a run at `step` still needs; None until its model and data are prepared.

    This reads the disk: do not call it from the UI thread.
    """
    if prepared is None:
        return None
    # The engine's own count of steps, which may differ from the plan's.
    planned = plan_checkpoints(round_.spec.train, prepared.steps_per_epoch, prepared.total_steps)
    written = checkpoints_in(directory.checkpoints)
    sizes = _file_sizes(written[max(written)]) if written else {}
    if measured := bool(sizes):
        checkpoint = sum(sizes.values())
        adapter = checkpoint - sizes.get(TENSORS, 0)
    else:
        adapter = FLOAT32_BYTES * prepared.trainable_parameters
        checkpoint = checkpoint_bytes(round_.spec.train, prepared.trainable_parameters)
    train = round_.spec.train
    to_come = checkpoints_after(planned, step)
    more = growth(to_come, len(written), train.save_total_limit, train.load_best_model_at_end)
    return DiskNeed(more, checkpoint, adapter, measured)


def checkpoint_bytes(train: TrainSpec, parameters: int) -> int:
    """Return the size of a checkpoint of so many trained parameters: the adapter, and the state of its optimizer."""
    return (FLOAT32_BYTES + STATE_BYTES[train.optim]) * parameters


def growth(to_come: int, on_disk: int, limit: int | None, keeps_best: bool) -> int:
    """Return how many more checkpoints the disk will hold at once.

    With `limit` (`train.save_total_limit`) an old checkpoint is deleted only after the new one is written, and the best
    one stays beside them.
    """
    if limit is None:
        return to_come
    return min(to_come, max(0, limit + keeps_best + 1 - on_disk))


def checkpoints_after(planned: PlannedSteps, step: int) -> int:
    """Count the planned checkpoints after `step`, without listing them."""
    if step <= 0:
        return len(planned)
    until = PlannedSteps(planned.every, (*(single for single in planned.besides if single < step), step))
    return len(planned) - len(until) + (step not in planned)


def free_bytes(directory: Path) -> int | None:
    """Return the bytes this user may still write on the file system of `directory`; None if that is unknown."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def shortage(needs: Sequence[DiskNeed], free: int | None, directory: Path) -> str:
    """Return one sentence that warns that the running rounds need more disk space than is free, or ""."""
    total = sum(need.total_bytes for need in needs)
    if free is None or total <= free:
        return ""
    basis = "as large as the newest" if all(need.measured for need in needs) else "estimated from trained parameters"
    checkpoints = sum(need.checkpoints for need in needs)
    some = f"{checkpoints:,} more checkpoint{'s' * (checkpoints != 1)} and the adapter"
    if len(needs) > 1:
        some += f"s of {len(needs)} rounds"
    return (
        f"the disk will be full before the end: {some} take {format_bytes(total)} ({basis}), and {format_bytes(free)} "
        f"are free at {directory}: free some space"
    )


def saved_bytes(run: RunDir) -> int:
    """Return the bytes of the checkpoints and the adapter in a run directory now; what cannot be read counts 0."""
    directories = (run.adapter, *checkpoints_in(run.checkpoints).values())
    return sum(size for directory in directories for size in _file_sizes(directory).values())


def _file_sizes(directory: Path) -> dict[str, int]:
    """Return the bytes of each file; empty if the directory was deleted meanwhile."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file()}
    except OSError:
        return {}
