"""A run that is killed at any point, or whose disk fails, loses no event and resumes exactly."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Failed, Finished
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Status
from tests.support.crashing_engine import run_crashing
from tests.support.forking import run_forked
from tests.support.rounds_to_train import (
    ENGINE,
    assert_resumed_exactly,
    make_run,
    resumed_from,
    steps_of,
    train_here,
)
from tests.support.tiny_model import write_model

pytestmark = pytest.mark.usefixtures("no_engine_is_left")

AFTER_A_STEP = """
append = EventWriter.append
def patched(self, event):
    append(self, event)
    if isinstance(event, Step) and event.step == 8: die()
EventWriter.append = patched
"""
WITHIN_A_LINE = """
append = EventWriter.append
def patched(self, event):
    if isinstance(event, Step) and event.step == 8:
        os.write(self._descriptor, encode_event(event)[:40])
        die()
    append(self, event)
EventWriter.append = patched
"""
WITHIN_A_CHECKPOINT = """
from engine.training.loop import checkpointing
write = checkpointing.write_manifest
checkpointing.write_manifest = lambda directory: die() if "12" in directory.name else write(directory)
"""
BEFORE_THE_CHECKPOINT_IS_RECORDED = """
from engine.training.loop import recipe
save = recipe.save_checkpoint
def patched(training):
    path = save(training)
    return path if training.progress.step < 12 else die()
recipe.save_checkpoint = patched
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that has biases to train."""
    return write_model(tmp_path_factory.mktemp("model") / "biased", attention_bias=True)


def assert_as_if_unhurt(run: RunDir, reference: list[AnyEvent]) -> None:
    """Check that the replay of `run` has each step once, with the figures of an undisturbed round."""
    replay, whole = RunSnapshot(read_events(run.events)), RunSnapshot(reference)
    assert list(replay.curve.steps) == list(range(1, 21))
    assert list(replay.curve.losses) == list(whole.curve.losses)
    assert list(replay.curve.tokens) == list(whole.curve.tokens)
    assert [(event.step, event.eval_loss) for event in replay.evaluations] == [
        (event.step, event.eval_loss) for event in whole.evaluations
    ]
    assert replay.status is Status.FINISHED
    for name in ("eval_loss", "perplexity", "base_perplexity", "trained_tokens"):
        assert getattr(replay.result, name) == getattr(whole.result, name)
    assert replay.result.train_seconds == pytest.approx(sum(replay.curve.seconds))


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("end", "last_step", "from_step"),
    [
        (AFTER_A_STEP, 8, 6),
        (WITHIN_A_LINE, 7, 6),
        (WITHIN_A_CHECKPOINT, 12, 6),
        (BEFORE_THE_CHECKPOINT_IS_RECORDED, 12, 12),
    ],
    ids=["after a step", "within a line", "within a checkpoint", "before the checkpoint is recorded"],
)
def test_killed_run_is_resumed_exactly(
    reference: tuple[RunDir, list[AnyEvent]],
    tiny_model: Path,
    tmp_path: Path,
    end: str,
    last_step: int,
    from_step: int,
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    assert run_crashing(run, end) == -signal.SIGKILL
    before = read_events(run.events)
    assert [step.step for step in steps_of(before)] == list(range(1, last_step + 1))
    assert RunSnapshot(before).status is None and not run.adapter.exists()
    assert resumed_from(train_here(run, resume=True)) == from_step
    assert_as_if_unhurt(run, reference[1])
    assert not [path for path in run.path.rglob(".*") if path.name.endswith((".staged", ".old"))]


@pytest.mark.sample(1)
@pytest.mark.parametrize("last_steps", [(8,), (3, 8, 13), (9, 18, 20)])
def test_replay_of_a_round_stopped_several_times_has_each_step_once(
    reference: tuple[RunDir, list[AnyEvent]], tiny_model: Path, tmp_path: Path, last_steps: tuple[int, ...]
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    for last_step in last_steps:
        train_here(run, resume=True, stop_after=last_step)
        assert RunSnapshot(read_events(run.events)).status is Status.STOPPED
    train_here(run, resume=True)
    assert_as_if_unhurt(run, reference[1])


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "settings",
    [
        {"lora__bias": "all"},
        {"lora__bias": "lora_only", "model__dtype": "bfloat16"},
        {"lora__target_modules": ("lm_head", "v_proj")},
        {"lora__target_modules": ("embed_tokens", "v_proj")},
        {"train__gradient_checkpointing": True},
        {"train__per_device_train_batch_size": 3, "data__supervised_tokens": "all"},
    ],
)
def test_every_kind_of_round_is_resumed_exactly(model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    assert_resumed_exactly(model, tmp_path, **settings)


def limited(run: RunDir, file_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run the engine with a file size limit in bytes; its log goes to a pipe, which has no limit."""
    return run_forked([*ENGINE, str(run.path)], file_bytes=file_bytes)


def test_full_disk_loses_no_event_that_was_written(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"train__num_train_epochs": 72 / 9, "train__save_strategy": "no", "train__logging_steps": 1}
    # Of 72 steps the first checkpoint comes after step 36, when the events have grown past the limit.
    run = make_run(tmp_path / "run", tiny_model, **settings)
    limit = 8 * 1024
    done = limited(run, limit)
    assert done.returncode in (1, 4)  # depending on the room for its last event
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert limit - 512 < run.events.stat().st_size <= limit and run.events.read_bytes().endswith(b"\n")
    logged = [int(step) for step in re.findall(r"^step (\d+)/72", done.stdout, re.MULTILINE)]
    recorded = [step.step for step in steps_of(read_events(run.events))]
    assert 10 < len(logged) < 36
    assert recorded == logged == list(range(1, len(logged) + 1))
    train_here(run, resume=True)
    replay = RunSnapshot(read_events(run.events))
    assert (list(replay.curve.steps), replay.status) == (list(range(1, 73)), Status.FINISHED)
    assert all(line.startswith(b'{"event":') and line.endswith(b"}") for line in run.events.read_bytes().splitlines())


def test_failed_write_of_a_checkpoint_ends_the_round_in_a_sentence_and_it_can_be_resumed(
    tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    done = limited(run, 20 * 1024)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    events = read_events(run.events)
    assert [event.message for event in events if isinstance(event, Failed)] == [
        f"a file exceeds the size limit at {run.path}: raise `ulimit -f` and resume"
    ]
    assert isinstance(events[-1], Failed) and steps_of(events)[-1].step == 6
    assert list(run.checkpoints.iterdir()) == []
    assert isinstance(train_here(run, resume=True)[-1], Finished)
