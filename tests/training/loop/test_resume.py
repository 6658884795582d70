"""A resumed round equals an uninterrupted one, and never continues from a damaged checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from engine.files.paths import RunDir
from engine.runs.checkpoints import TENSORS, newest_valid_checkpoint
from engine.runs.events import AnyEvent, Evaluated, Finished, Saved, Stopped
from engine.spec.fields import spec_fields
from engine.training.data.batching import Batch
from engine.training.loop import checkpointing
from engine.training.model.forward import Forward
from tests.support.rounds_to_train import fail_here, figures_of, make_run, resumed_from, spec_of, train_here

Reference = tuple[RunDir, list[AnyEvent]]


def result_of(events: list[AnyEvent]) -> tuple[float | None, float | None, int | None]:
    last = events[-1]
    assert isinstance(last, Finished)
    return last.result.eval_loss, last.result.base_perplexity, last.result.trained_tokens


def copy_of(reference: Reference, directory: Path) -> RunDir:
    """A copy of the run directory of the finished round."""
    shutil.copytree(reference[0].path, directory)
    return RunDir(directory)


def saved_in(events: list[AnyEvent]) -> list[str]:
    return [event.path for event in events if isinstance(event, Saved)]


def evaluated_in(events: list[AnyEvent]) -> list[int]:
    return [event.step for event in events if isinstance(event, Evaluated)]


@pytest.mark.sample(3)
@pytest.mark.parametrize("last_step", [1, 8, 9, 12, 19])
def test_stopped_and_resumed_equals_uninterrupted(
    reference: Reference, tiny_model: Path, tmp_path: Path, last_step: int
) -> None:
    """They are equal to the last bit: order of rows, dropout, optimizer state and learning rate are restored."""
    run = make_run(tmp_path / "run", tiny_model)
    first = train_here(run, stop_after=last_step)
    last = first[-1]
    assert isinstance(last, Stopped)
    assert (last.step, last.message) == (last_step, f"stopped after step {last_step} of 20")
    assert saved_in(first)[-2:] == [f"checkpoints/checkpoint-{last_step}", "adapter"]
    second = train_here(run, resume=True)
    assert resumed_from(second) == last_step
    assert figures_of(first) + figures_of(second) == figures_of(reference[1])
    assert result_of(second) == result_of(reference[1])
    assert sorted({*evaluated_in(first), *evaluated_in(second)}) == evaluated_in(reference[1])
    assert 0 not in evaluated_in(second)


def test_stopped_adapter_is_that_of_its_step(reference: Reference, tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=12)
    weights = "adapter_model.safetensors"
    checkpoint = reference[0].checkpoints / "checkpoint-12" / weights
    assert (run.adapter / weights).read_bytes() == checkpoint.read_bytes()


def test_evaluation_prevented_by_a_stop_is_done_on_resume(
    reference: Reference, tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__save_strategy="epoch")
    train_here(run, stop_after=9)
    events = train_here(run, resume=True)
    assert evaluated_in(events) == [9, 18, 20]
    assert result_of(events) == result_of(reference[1])


def test_stop_in_the_last_step_leaves_only_the_evaluation(
    reference: Reference, tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    assert isinstance(train_here(run, stop_after=20)[-1], Stopped)
    events = train_here(run, resume=True)
    assert figures_of(events) == []
    assert result_of(events) == result_of(reference[1])


def test_resume_without_a_checkpoint_starts_from_the_beginning(
    reference: Reference, tiny_model: Path, tmp_path: Path
) -> None:
    events = train_here(make_run(tmp_path / "run", tiny_model), resume=True)
    assert resumed_from(events) is None
    assert figures_of(events) == figures_of(reference[1])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    (name, damage)
    for name in (
        "adapter_model.safetensors",
        "adapter_config.json",
        "training_state.safetensors",
        "state.json",
        "manifest.json",
    )
    for damage in (truncate, flip_a_bit, Path.unlink)
    if (name, damage) != ("manifest.json", flip_a_bit)
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_checkpoint_is_not_used(
    reference: Reference, tmp_path: Path, name: str, damage: Callable[[Path], object]
) -> None:
    run = copy_of(reference, tmp_path / "run")
    assert newest_valid_checkpoint(run.checkpoints)[0] == run.checkpoints / "checkpoint-20"
    damage(run.checkpoints / "checkpoint-20" / name)
    assert newest_valid_checkpoint(run.checkpoints)[0] == run.checkpoints / "checkpoint-18"


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000, b'{"state.json": {}}'])
def test_checkpoint_with_an_empty_manifest_is_not_used(reference: Reference, tmp_path: Path, manifest: bytes) -> None:
    run = copy_of(reference, tmp_path / "run")
    for step in (12, 18, 20):
        (run.checkpoints / f"checkpoint-{step}" / "manifest.json").write_bytes(manifest)
    (run.checkpoints / ".checkpoint-21.staged").mkdir()
    (run.checkpoints / "checkpoint-best").mkdir()
    assert newest_valid_checkpoint(run.checkpoints)[0] == run.checkpoints / "checkpoint-6"


def test_training_resumes_before_the_damage_and_replaces_it(reference: Reference, tmp_path: Path) -> None:
    run = copy_of(reference, tmp_path / reference[0].path.name)
    for step in (12, 18, 20):
        truncate(run.checkpoints / f"checkpoint-{step}" / "training_state.safetensors")
    events = train_here(run, resume=True)
    assert resumed_from(events) == 6
    assert figures_of(events) == figures_of(reference[1], after=6)
    assert result_of(events) == result_of(reference[1])
    assert newest_valid_checkpoint(run.checkpoints)[0] == run.checkpoints / "checkpoint-20"


def test_stop_at_a_damaged_checkpoint_writes_it_again(reference: Reference, tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=8)
    truncate(run.checkpoints / "checkpoint-8" / "state.json")
    events = train_here(run, resume=True, stop_after=8)
    assert resumed_from(events) == 6
    assert newest_valid_checkpoint(run.checkpoints)[0] == run.checkpoints / "checkpoint-8"


def test_loss_that_is_not_finite_ends_the_round_and_keeps_earlier_checkpoints(
    reference: Reference, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__save_steps=3)
    nll, calls = Forward.nll, 0

    def spoilt(forward: Forward, batch: Batch) -> torch.Tensor:
        nonlocal calls
        calls += forward.model.training
        return nll(forward, batch) * (float("nan") if calls > 6 else 1.0)  # two measure the memory

    with monkeypatch.context() as patch:
        patch.setattr(Forward, "nll", spoilt)
        message = fail_here(run, patch)
    assert message == (
        "loss is not finite at step 5: train.learning_rate 0.01 is probably too high; try a tenth of it, or a longer "
        "warm-up"
    )
    events = train_here(run, resume=True)
    assert resumed_from(events) == 3
    assert figures_of(events) == figures_of(reference[1], after=3)


def test_optimizer_that_was_never_stepped_can_be_saved_and_restored(tmp_path: Path) -> None:
    """This is the state after a first float16 step that the gradient scaler skips."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    tensors, numbers = checkpointing._training_state(model, optimizer)
    assert (set(tensors), numbers) == ({"rng.cpu"}, {})
    checkpointing._restore_optimizer(tensors, numbers, model, optimizer)
    assert not optimizer.state


def test_full_disk_leaves_no_part_of_a_checkpoint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model)

    def refuse(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpointing, "save_file", refuse)
    message = fail_here(run, monkeypatch)
    assert message == f"the disk is full at {run.path}: free some space and resume"
    assert list(run.checkpoints.iterdir()) == []


def test_round_does_not_go_on_with_other_rows(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=2)
    file = Path(spec_of(run).data.path)
    rows = file.read_text()
    file.write_text(rows.replace("lamp", "kettle", 1))
    assert "are not those that the round began with: restore them" in fail_here(run, monkeypatch, resume=True)
    file.write_text(rows)
    assert resumed_from(train_here(run, resume=True)) == 2


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "settings",
    [
        *({"train__optim": name} for name in spec_fields()["train.optim"].choices),
        {"lora__loraplus_lr_ratio": 4.0},
        {"lora__loraplus_lr_ratio": 4.0, "train__optim": "adamw_8bit"},
    ],
    ids=str,
)
def test_state_of_every_optimizer_is_restored(tiny_model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """Of matrices with 4,096 numbers or more bitsandbytes holds the state in 8 bits."""
    settings |= {"lora__r": 128, "train__learning_rate": 1e-3, "train__max_steps": 8, "train__sample_tokens": 0}
    whole = train_here(make_run(tmp_path / "whole", tiny_model, **settings))
    run = make_run(tmp_path / "run", tiny_model, **settings)
    first = train_here(run, stop_after=5)
    second = train_here(run, resume=True)
    assert resumed_from(second) == 5
    assert figures_of(first) + figures_of(second) == figures_of(whole)
    assert result_of(second) == result_of(whole)
    states = load_file(run.checkpoint(5) / TENSORS)
    has_bytes = any(tensor.dtype == torch.uint8 for name, tensor in states.items() if not name.startswith("rng"))
    assert has_bytes is ("8bit" in str(settings["train__optim"]) if "train__optim" in settings else False)
