from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files.paths import RunDir
from engine.runs.disk_forecast import (
    DiskNeed,
    checkpoints_after,
    disk_need,
    free_bytes,
    growth,
    shortage,
)
from engine.runs.events import Prepared
from engine.spec.plan import PlannedSteps
from engine.spec.round import Round, Status
from tests.support.rounds import make_round, make_spec

GIB = 1024**3
TRAINED = 1_000_000
PREPARED = Prepared(
    time=1.0, device="cuda", dtype="float16", parameters=10**9, trainable_parameters=TRAINED, train_samples=90,
    eval_samples=10, total_steps=100, steps_per_epoch=25,
)  # fmt: skip


def running(**settings: object) -> Round:
    return make_round(1, Status.RUNNING, spec=make_spec(train__num_train_epochs=4.0, **settings))


@given(
    every=st.sets(st.integers(1, 12), max_size=2),
    besides=st.sets(st.integers(1, 60), max_size=2),
    last=st.integers(1, 60),
    step=st.integers(0, 60),
)
def test_checkpoints_to_come_are_counted_as_one_would_by_hand(
    every: set[int], besides: set[int], last: int, step: int
) -> None:
    planned = PlannedSteps(tuple(sorted(every)), tuple(sorted({*(b for b in besides if b < last), last})))
    assert checkpoints_after(planned, min(step, last)) == sum(number > step for number in planned)


def test_checkpoints_of_a_million_steps_are_counted_at_once() -> None:
    assert checkpoints_after(PlannedSteps((10,), (1_000_000_000,)), 500_000_000) == 50_000_000


def test_need_before_the_first_checkpoint_is_estimated_from_the_trained_parameters(tmp_path: Path) -> None:
    # four epochs of 25 steps: checkpoints after 25, 50, 75, 100; each weights and two moments in float32
    need = disk_need(running(), PREPARED, 10, RunDir(tmp_path))
    assert need == DiskNeed(4, 12_000_000, 4_000_000, measured=False)
    assert need.total_bytes == 4 * 12_000_000 + 4_000_000


def test_need_after_a_checkpoint_is_the_size_of_that_checkpoint(tmp_path: Path) -> None:
    directory = RunDir(tmp_path)
    checkpoint = directory.checkpoint(25)
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(bytes(500))
    (checkpoint / "training_state.safetensors").write_bytes(bytes(1200))
    (checkpoint / "tokenizer.json").write_bytes(bytes(300))
    (directory.checkpoints / ".checkpoint-30.staged").mkdir()  # one that is being written
    (directory.checkpoints / "checkpoint-031").mkdir()  # not a name that the engine gives
    (directory.checkpoints / "checkpoint-32").symlink_to(checkpoint)
    (directory.checkpoints / "checkpoint-33").write_bytes(b"")
    assert disk_need(running(), PREPARED, 30, directory) == DiskNeed(3, 2000, 800, measured=True)
    limited = running(train__save_total_limit=1)
    one = DiskNeed(1, 2000, 800, measured=True)  # the old checkpoint is deleted after the new one is written
    assert disk_need(limited, PREPARED, 30, directory) == one


def test_need_is_not_known_before_the_model_is_loaded(tmp_path: Path) -> None:
    assert disk_need(running(), None, 0, RunDir(tmp_path)) is None


@pytest.mark.parametrize(
    ("to_come", "on_disk", "limit", "best", "more"),
    [(5, 0, None, False, 5), (5, 2, 2, False, 1), (5, 0, 2, False, 3), (5, 3, 2, True, 1), (0, 2, 2, False, 0)],
)
def test_limit_bounds_the_checkpoints_on_the_disk_at_once(
    to_come: int, on_disk: int, limit: int | None, best: bool, more: int
) -> None:
    assert growth(to_come, on_disk, limit, best) == more


def test_shortage_is_one_sentence() -> None:
    need = DiskNeed(4, GIB, GIB // 2, measured=True)
    assert shortage([need], int(4.5 * GIB), Path("/w")) == ""
    assert shortage([need], int(4.5 * GIB) - 1, Path("/w")) == (
        "the disk will be full before the end: 4 more checkpoints and the adapter take 4.5 GiB (as large as the "
        "newest), and 4.5 GiB are free at /w: free some space"
    )
    assert shortage([], 0, Path("/w")) == shortage([need], None, Path("/w")) == ""


def test_rounds_that_run_at_once_share_the_disk() -> None:
    needs = [DiskNeed(4, GIB, 0, measured=True), DiskNeed(3, GIB, GIB, measured=False)]
    assert shortage(needs[:1], 7 * GIB, Path("/w")) == shortage(needs[1:], 7 * GIB, Path("/w")) == ""
    words = "7 more checkpoints and the adapters of 2 rounds take 8.0 GiB (estimated from trained parameters)"
    assert words in shortage(needs, 7 * GIB, Path("/w"))


def test_free_space_is_the_file_systems(tmp_path: Path) -> None:
    free = free_bytes(tmp_path)
    assert free is not None and 0 < free <= psutil.disk_usage(str(tmp_path)).total
    assert free_bytes(tmp_path / "nowhere") is None
