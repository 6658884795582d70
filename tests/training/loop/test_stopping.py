"""Early stopping, and the best adapter, which is found again whenever the engine dies."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest
from datasets import Dataset
from peft import PeftModel

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Finished, Saved
from engine.runs.snapshot import RunSnapshot
from engine.spec.round import Status
from tests.support.crashing_engine import run_crashing
from tests.support.plain import evaluations_of, load, plain_eval_loss
from tests.support.rounds_to_train import (
    OBJECTS,
    WORDS,
    figures_of,
    make_run,
    spec_of,
    steps_of,
    train_here,
    write_rows,
)

ROWS, EPOCH_STEPS, STEPS = 18, 4, 32
OVERSHOOTING: dict[str, object] = {
    "train__num_train_epochs": STEPS / EPOCH_STEPS,
    "train__save_strategy": "no",
    "train__lr_scheduler_type": "constant",
    "lora__lora_dropout": 0.0,
}
BEST: dict[str, object] = {**OVERSHOOTING, "train__load_best_model_at_end": True}


def make_overshooting(directory: Path, model: Path, **settings: object) -> RunDir:
    """A round whose eval loss falls, then rises again: half of what the held-out rows say is in no other row, which the
    adapter is the surer of the longer it learns.
    """
    run, draw = make_run(directory, model, **settings), random.Random(0)
    held_out = set(Dataset.from_dict({"n": range(ROWS)}).train_test_split(test_size=0.1, seed=42)["test"]["n"])
    rows = []
    for number in range(ROWS):
        instruction = f"Say {draw.choice(WORDS)} {draw.choice(OBJECTS)}"
        strange = draw.choices(WORDS, k=3) if number in held_out else []
        output = " ".join([*strange, *draw.choices(OBJECTS, k=6 - len(strange))])
        rows.append({"instruction": instruction, "input": "", "output": output})
    write_rows(Path(spec_of(run).data.path), rows)
    return run


def losses(events: list[AnyEvent]) -> dict[int, float]:
    return {step: event.eval_loss or 0.0 for step, event in evaluations_of(events).items() if step}


def finished(events: list[AnyEvent]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


@pytest.fixture(scope="module")
def overshot(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[AnyEvent]:
    """The events of a round that ends worse than its best; its last adapter is kept."""
    return train_here(make_overshooting(tmp_path_factory.mktemp("overshot") / "run", tiny_model, **OVERSHOOTING))


def best_of(events: list[AnyEvent]) -> int:
    eval_losses = losses(events)
    best = min(eval_losses, key=eval_losses.__getitem__)
    assert EPOCH_STEPS < best < max(eval_losses), f"the round is best at its end: {eval_losses}"
    return best


def assert_keeps(run: RunDir, model: Path, events: list[AnyEvent], step: int) -> None:
    """Check that adapter and result are those of `step`, and that the message says so."""
    last = finished(events)
    assert (last.result.step, last.result.eval_loss) == (step, losses(read_events(run.events))[step])
    tuned = PeftModel.from_pretrained(load(model), run.adapter).eval()
    assert plain_eval_loss(tuned, model, run)[0] == pytest.approx(last.result.eval_loss, rel=1e-5)
    assert f"the final adapter is that of step {step}, with the lowest eval loss" in last.message
    final = [event for event in events if isinstance(event, Saved) and event.final]
    assert [event.step for event in final] == [step]


def test_last_adapter_is_kept_unless_the_spec_asks_for_the_best(overshot: list[AnyEvent]) -> None:
    last = finished(overshot)
    assert (last.result.eval_loss, last.message) == (losses(overshot)[STEPS], "")
    assert best_of(overshot) < STEPS


def test_best_adapter_is_kept(overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST)
    events = train_here(run)
    assert figures_of(events) == figures_of(overshot)
    assert_keeps(run, tiny_model, events, best_of(overshot))


@pytest.mark.parametrize("patience", [1, 2])
def test_round_ends_when_patience_is_over(
    overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path, patience: int
) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST, train__early_stopping_patience=patience)
    events = train_here(run)
    whole = losses(overshot)
    best, counter, ends = float("inf"), 0, []  # transformers' EarlyStoppingCallback
    for step, loss in whole.items():
        best, counter = (loss, 0) if loss < best else (best, counter + 1)
        ends += [step] * (counter == patience)
    end = ends[0]
    assert end < STEPS and steps_of(events)[-1].step == end
    assert figures_of(events) == figures_of(overshot)[:end]
    times = "evaluation" if patience == 1 else "2 evaluations"
    assert finished(events).message.startswith(
        f"ended early after step {end} of {STEPS}: no lower eval loss in the last {times}; "
    )
    assert_keeps(run, tiny_model, events, end - EPOCH_STEPS * patience)
    assert run.checkpoint(end).is_dir()
    snapshot = RunSnapshot(events)
    assert (snapshot.status, snapshot.message) == (Status.FINISHED, finished(events).message)


def test_early_end_keeps_the_last_adapter_unless_the_spec_asks_for_the_best(tiny_model: Path, tmp_path: Path) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **OVERSHOOTING, train__early_stopping_patience=1)
    events = train_here(run)
    step = steps_of(events)[-1].step
    assert finished(events).result.eval_loss == losses(events)[step]
    assert (
        finished(events).message
        == f"ended early after step {step} of {STEPS}: no lower eval loss in the last evaluation"
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("stops", [(20,), (3, 24, 28), (31, 32)])
def test_best_is_found_again_after_a_stop(
    overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST)
    for step in stops:
        train_here(run, resume=True, stop_after=step)
    assert_keeps(run, tiny_model, train_here(run, resume=True), best_of(overshot))


def test_patience_goes_on_after_a_stop(tiny_model: Path, tmp_path: Path) -> None:
    settings = {**BEST, "train__early_stopping_patience": 2}
    whole = train_here(make_overshooting(tmp_path / "whole", tiny_model, **settings))
    end = steps_of(whole)[-1].step
    run = make_overshooting(tmp_path / "run", tiny_model, **settings)
    train_here(run, stop_after=end - 3)
    events = train_here(run, resume=True)
    assert steps_of(events)[-1].step == end
    assert finished(events).message == finished(whole).message
    assert finished(events).result.eval_loss == finished(whole).result.eval_loss


DEATHS = {
    "before the evaluation is recorded": """
from engine.runs.events import Evaluated
append = EventWriter.append
def patched(self, event):
    if isinstance(event, Evaluated) and event.step == {step}: die()
    append(self, event)
EventWriter.append = patched
""",
    "after the evaluation is recorded": """
from engine.runs.events import Evaluated
append = EventWriter.append
def patched(self, event):
    append(self, event)
    if isinstance(event, Evaluated) and event.step == {step}: die()
EventWriter.append = patched
""",
    "before the best is restored": """
from engine.training.loop import recipe
recipe.restore_adapter = lambda *_: die()
""",
    "before the end is recorded": """
from engine.runs.events import Finished
append = EventWriter.append
def patched(self, event):
    if isinstance(event, Finished): die()
    append(self, event)
EventWriter.append = patched
""",
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
@pytest.mark.parametrize("limit", [None, 1])
def test_best_is_found_again_whenever_the_engine_dies(
    overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path, death: str, limit: int | None
) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST, train__save_total_limit=limit)
    best = best_of(overshot)
    assert run_crashing(run, death.format(step=best)) == -signal.SIGKILL
    events = train_here(run, resume=True)
    assert_keeps(run, tiny_model, events, best)
    assert list(RunSnapshot(read_events(run.events)).curve.steps) == list(range(1, STEPS + 1))


def test_damaged_best_checkpoint_is_skipped_with_a_warning(
    overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path
) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST)
    train_here(run, stop_after=STEPS - 1)
    best = best_of(overshot)
    (run.checkpoint(best) / "adapter_model.safetensors").write_bytes(b"")
    events = train_here(run, resume=True)
    rest = {step: loss for step, loss in losses(read_events(run.events)).items() if step != best}
    assert_keeps(run, tiny_model, events, min(rest, key=rest.__getitem__))
    warnings = RunSnapshot(events).warnings
    assert warnings == [f"checkpoint-{best}, with a lower eval loss, is damaged and is skipped"]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"train__save_total_limit": 2}, {18, 20}),
        ({"train__save_total_limit": 1}, {20}),
        ({"train__save_total_limit": 9}, {6, 12, 18, 20}),
    ],
)
def test_old_checkpoints_are_deleted(
    tiny_model: Path, tmp_path: Path, settings: dict[str, object], steps: set[int]
) -> None:
    run = make_run(tmp_path / "run", tiny_model, **settings)
    train_here(run)
    assert {path.name for path in run.checkpoints.iterdir()} == {f"checkpoint-{step}" for step in steps}


def test_best_checkpoint_is_never_deleted(overshot: list[AnyEvent], tiny_model: Path, tmp_path: Path) -> None:
    run = make_overshooting(tmp_path / "run", tiny_model, **BEST, train__save_total_limit=1)
    train_here(run)
    assert {path.name for path in run.checkpoints.iterdir()} == {
        f"checkpoint-{STEPS}",
        f"checkpoint-{best_of(overshot)}",
    }


def test_checkpoints_of_later_steps_do_not_cause_good_ones_to_be_deleted(tiny_model: Path, tmp_path: Path) -> None:
    """This is the case after a round resumed from before two damaged checkpoints."""
    run = make_run(tmp_path / "run", tiny_model, train__save_total_limit=2, train__save_steps=4)
    train_here(run, stop_after=8)
    for step in (16, 20):
        shutil.copytree(run.checkpoint(8), run.checkpoint(step))
        (run.checkpoint(step) / "state.json").write_bytes(b"")
    train_here(run, resume=True, stop_after=12)
    assert {path.name for path in run.checkpoints.iterdir()} == {
        *("checkpoint-8", "checkpoint-12", "checkpoint-16", "checkpoint-20")
    }
