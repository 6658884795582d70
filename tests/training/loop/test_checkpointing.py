"""The content of checkpoints, the spec they belong to, and that none is written of weights that are not finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest
import torch

from engine.files.paths import RunDir
from engine.runs.checkpoints import STATE, write_manifest
from engine.runs.disk_forecast import checkpoint_bytes
from engine.runs.events import Finished
from engine.spec.fields import spec_fields
from engine.training.data.batching import Batch
from engine.training.loop import checkpointing
from engine.training.loop.checkpointing import restore, save_checkpoint
from engine.training.loop.optimizer import make_optimizer
from engine.training.loop.state import Training
from engine.training.model.forward import Forward
from tests.support.rounds import change_spec, make_spec
from tests.support.rounds_to_train import fail_here, figures_of, make_run, prepared, resumed_from, spec_of, train_here


def change_run(run: RunDir, **settings: object) -> None:
    """Edit the spec in a run directory, as a person might."""
    changed = change_spec(spec_of(run), **settings)
    run.spec.write_bytes(msgspec.json.encode({"id": run.path.name, "number": 1, "spec": changed}))


def forget_spec(checkpoint: Path) -> None:
    """Turn `checkpoint` into one of an earlier version, without a spec."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state["spec"], state["scaler"]
    (checkpoint / "state.json").write_text(json.dumps(state | {"scale": None}))
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"lora__r": 8}, "lora.r was 4 and is 8"),
        ({"lora__target_modules": ("v_proj",)}, "lora.target_modules was all-linear and is v_proj"),
        (
            {"train__learning_rate": 1e-3, "train__early_stopping_patience": 2},
            "train.learning_rate was 0.01 and is 0.001, train.early_stopping_patience was off and is 2",
        ),
    ],
)
def test_checkpoint_of_another_spec_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], changes: str
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=7)
    change_run(run, **settings)
    assert fail_here(run, monkeypatch, resume=True) == (
        f"checkpoint-7 was written with another spec, {changes}: restore spec.json as it was, or start a new round"
    )


def test_model_and_data_may_have_moved(tiny_model: Path, tmp_path: Path) -> None:
    whole = train_here(make_run(tmp_path / "whole", tiny_model))
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=7)
    moved = (tmp_path / "elsewhere").resolve()
    moved.symlink_to(tiny_model)
    rows = (run.path / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    change_run(run, model__path=str(moved), data__path=str(rows))
    assert figures_of(train_here(run, resume=True)) == figures_of(whole, after=7)


@pytest.mark.parametrize("settings", [{"lora__r": 8}, {"lora__target_modules": ("v_proj",)}])
def test_tensors_of_another_adapter_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=7)
    forget_spec(run.checkpoint(7))
    change_run(run, **settings)
    message = fail_here(run, monkeypatch, resume=True)
    assert message.startswith("checkpoint-7 does not fit the model of this round (")
    assert message.endswith("): start a new round")


def test_round_resumes_from_a_checkpoint_of_an_earlier_version(tiny_model: Path, tmp_path: Path) -> None:
    whole = train_here(make_run(tmp_path / "whole", tiny_model))
    run = make_run(tmp_path / "run", tiny_model)
    train_here(run, stop_after=7)
    forget_spec(run.checkpoint(7))
    events = train_here(run, resume=True)
    assert resumed_from(events) == 7
    assert figures_of(events) == figures_of(whole, after=7)


def scale_gradients(training: Training, finite: bool) -> None:
    """Take one step with the gradient scaler, as in float16."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    total = parameter.sum() * (1.0 if finite else math.inf)
    training.scaler.scale(total).backward()
    training.scaler.step(optimizer)
    training.scaler.update()


def test_gradient_scaler_keeps_scale_and_count(tiny_model: Path, tmp_path: Path) -> None:
    """It doubles its scale after some steps without overflow; a break does not restart the count."""
    run = make_run(tmp_path / "run", tiny_model)
    with prepared(run) as training:
        training.scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=4)
        for finite in (True, False, True, True):
            scale_gradients(training, finite)
        before = training.scaler.state_dict()
        save_checkpoint(training)
    assert (before["scale"], before["_growth_tracker"]) == (32.0, 2)
    with prepared(run) as training:
        training.scaler = torch.amp.GradScaler("cpu")
        restore(training, 0)
        assert training.scaler.state_dict() == before
        for _ in range(2):
            scale_gradients(training, finite=True)
        assert training.scaler.get_scale() == 64.0


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_model)
    step = torch.optim.AdamW.step

    def overflowing(self: torch.optim.AdamW) -> None:
        step(self)
        if self.state[self.param_groups[0]["params"][0]]["step"] == 12:
            with torch.no_grad():
                self.param_groups[0]["params"][3].fill_(math.inf)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", overflowing)
        message = fail_here(run, patch)
    assert message == (
        "the adapter's weights are not finite after step 12: train.learning_rate 0.01 is probably too high; try a "
        "tenth of it, or a longer warm-up"
    )
    assert [path.name for path in run.checkpoints.iterdir()] == ["checkpoint-6"]
    events = train_here(run, resume=True)
    assert resumed_from(events) == 6 and isinstance(events[-1], Finished)


def test_eval_loss_that_is_not_finite_ends_the_round_before_its_checkpoint(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the last step, after which no training loss would show it."""
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=2.0)
    token_nlls, calls = Forward.token_nlls, 0

    def spoilt(forward: Forward, batch: Batch) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return token_nlls(forward, batch) * (math.inf if calls > 2 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Forward, "token_nlls", spoilt)
        message = fail_here(run, patch)
    assert message.startswith("eval loss is not finite after step 18: train.learning_rate 0.01 is probably too")
    assert not run.checkpoint(18).exists() and not run.adapter.exists()
    events = train_here(run, resume=True)
    assert resumed_from(events) == 12 and isinstance(events[-1], Finished)


def test_state_holds_nothing_that_is_executed(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=0.5)
    train_here(run)
    state = json.loads((run.checkpoint(5) / STATE).read_text())
    assert set(state) == {"step", "train_seconds", "trained_tokens", "scaler", "spec", "optimizer"}
    assert not (run.checkpoint(5) / "README.md").exists()


@pytest.mark.parametrize("name", spec_fields()["train.optim"].choices)
def test_size_of_a_checkpoint_is_foreseen(name: str) -> None:
    model = torch.nn.Linear(1024, 1024, bias=False)
    spec = make_spec(train__optim=name)
    optimizer = make_optimizer(model, spec, torch.device("cpu"))
    model(torch.ones(1, 1024)).sum().backward()
    optimizer.step()
    tensors, _ = checkpointing._training_state(model, optimizer)
    state = sum(tensor.nbytes for key, tensor in tensors.items() if not key.startswith("rng"))
    parameters = model.weight.numel()
    assert checkpoint_bytes(spec.train, parameters) == pytest.approx(4 * parameters + state, rel=0.02)
