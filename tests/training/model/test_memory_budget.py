"""Division of a step by the measured memory, and what happens when memory runs out all the same."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent
from engine.system import training_memory
from engine.system.allowance import Memory
from engine.training.data.batching import Batch
from engine.training.data.tokenize import Example
from engine.training.model import memory_budget
from engine.training.model.forward import Forward
from tests.support.processes import ROOT
from tests.support.rounds_to_train import (
    ENGINE,
    fail_here,
    figures_of,
    make_run,
    prepared_in,
    train_here,
    warned_in,
)
from tests.support.tiny_model import write_model

Reference = tuple[RunDir, list[AnyEvent]]
GIB = 2**30


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A device on which training passes of more tokens than fit, or with stored activations, run out of memory."""
    nll = Forward.nll

    def install(tokens: int, *, from_pass: int = 1, if_stored: int | None = None) -> list[int]:
        passes: list[int] = []

        def limited(forward: Forward, batch: Batch) -> torch.Tensor:
            if not forward.model.training:
                return nll(forward, batch)
            passes.append(sum(batch.row_lengths))
            recomputes = forward.model.get_base_model().is_activation_checkpointing
            most = tokens if if_stored is None or recomputes else if_stored
            if len(passes) >= from_pass and passes[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return nll(forward, batch)

        monkeypatch.setattr(Forward, "nll", limited)
        return passes

    return install


def test_step_that_runs_out_of_memory_is_repeated_in_smaller_micro_batches(
    reference: Reference, tiny_model: Path, tmp_path: Path, small_memory: Callable[..., list[int]]
) -> None:
    """The step equals one that was divided so from the start, dropout included."""
    run = make_run(tmp_path / "run", tiny_model, lora__lora_dropout=0.0)
    whole = train_here(run)
    passes = small_memory(130, from_pass=7)  # two passes measure, then there is one for each step
    events = train_here(make_run(tmp_path / "small", tiny_model, lora__lora_dropout=0.0))
    assert max(passes[:6]) > 130 >= max(passes[9:])
    (warning,) = warned_in(events)
    assert warning.startswith("out of memory at step ") and "from now on micro-batches have at most" in warning
    for ours, theirs in zip(figures_of(events), figures_of(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_repeated_step_draws_the_same_random_numbers(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_memory: Callable[..., list[int]]
) -> None:
    small_memory(200, from_pass=3)
    events = train_here(make_run(tmp_path / "run", tiny_model, lora__lora_dropout=0.5))
    pattern = r"out of memory at step 1: from now on micro-batches have at most (\d+) tokens"
    match = re.fullmatch(pattern, warned_in(events)[0])
    assert match is not None
    monkeypatch.setattr(training_memory, "CPU_TOKENS", int(match[1]))
    small = train_here(make_run(tmp_path / "small", tiny_model, lora__lora_dropout=0.5))
    assert figures_of(events)[0] == figures_of(small)[0]


def test_activations_are_recomputed_when_a_single_row_no_longer_fits(
    reference: Reference, tiny_model: Path, tmp_path: Path, small_memory: Callable[..., list[int]]
) -> None:
    small_memory(1000, from_pass=3, if_stored=0)
    events = train_here(make_run(tmp_path / "run", tiny_model, lora__lora_dropout=0.0))
    assert warned_in(events)[-1].endswith("tokens and activations are recomputed")
    assert len(figures_of(events)) == 20


def test_activations_are_recomputed_from_the_start_when_the_longest_row_does_not_fit_otherwise(
    tiny_model: Path, tmp_path: Path, small_memory: Callable[..., list[int]]
) -> None:
    small_memory(1000, if_stored=0)
    events = train_here(make_run(tmp_path / "run", tiny_model))
    assert prepared_in(events).gradient_checkpointing
    assert warned_in(events) == []


def test_row_that_does_not_fit_ends_the_round(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_memory: Callable[..., list[int]]
) -> None:
    small_memory(0)
    message = fail_here(make_run(tmp_path / "run", tiny_model), monkeypatch)
    assert message.startswith("out of memory with a single row of ")
    assert "data.max_length" in message and "gradient_checkpointing" not in message
    run = make_run(tmp_path / "stored", tiny_model, train__gradient_checkpointing=False)
    assert "train.gradient_checkpointing auto" in fail_here(run, monkeypatch)


def test_fixed_micro_batches_are_not_made_smaller(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_memory: Callable[..., list[int]]
) -> None:
    passes = small_memory(100, from_pass=3)
    message = fail_here(make_run(tmp_path / "run", tiny_model, train__micro_batches="fixed"), monkeypatch)
    assert message.startswith("out of GPU memory at step 1: 2.0 GiB needed; try train.micro_batches auto")
    assert len(passes) == 3 or max(passes[2:-1]) <= 100 < passes[-1]


def test_other_errors_are_not_mistaken_for_out_of_memory(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Forward, "nll", broken)
    assert fail_here(make_run(tmp_path / "run", tiny_model), monkeypatch) == "RuntimeError: shape mismatch"


def test_micro_batches_shrink_with_the_memory_that_is_free(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They use half of the free memory, less the optimizer state, at the bytes per token of two short rows."""

    def tokens_with(free: int) -> int | None:
        monkeypatch.setattr(memory_budget, "memory", lambda: Memory(free, 0, free))
        used = iter((row, 2 * row))  # of one row and of two
        monkeypatch.setattr(memory_budget, "_peak_of", lambda work, device: (work(), next(used))[1])
        run = make_run(tmp_path / f"run-{free}", tiny_model, train__num_train_epochs=0.1)
        return prepared_in(train_here(run)).micro_batch_tokens

    a_token = GIB // 32
    row = memory_budget.TRIAL_TOKENS[0] * a_token
    plenty, scarce = tokens_with(10_000 * GIB), tokens_with(8 * GIB)
    assert plenty is not None and scarce is not None
    assert scarce < plenty <= training_memory.CPU_TOKENS
    assert scarce == pytest.approx(4 * GIB / (training_memory.FRAGMENTATION * a_token), abs=1)


def test_memory_that_a_short_row_hides_is_measured_by_a_longer_one(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass uses a fixed amount, say for one gradient, or so much for each token, whichever is more."""
    fixed, a_token = GIB, GIB // 32
    short, long = memory_budget.TRIAL_TOKENS
    used = iter(max(fixed, tokens * a_token) for tokens in (short, 2 * short, long, 2 * long))
    monkeypatch.setattr(memory_budget, "memory", lambda: Memory(8 * GIB, 0, 8 * GIB))
    monkeypatch.setattr(memory_budget, "_peak_of", lambda work, device: (work(), next(used))[1])
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=0.1)
    tokens = prepared_in(train_here(run)).micro_batch_tokens
    assert tokens == pytest.approx(4 * GIB / (training_memory.FRAGMENTATION * a_token), abs=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("targets", "recompute"), [(["q_proj", "v_proj"], False), ("all-linear", False), ("all-linear", True)]
)
def test_estimate_is_the_peak_of_the_resident_size(tmp_path: Path, targets: object, recompute: bool) -> None:
    """As the kernel measures it of a process that trains a round by itself."""
    model = write_model(tmp_path / "model", layers=10, width=256)
    run = make_run(
        tmp_path / "run", model, lora__target_modules=targets, train__gradient_checkpointing=recompute,
        train__per_device_train_batch_size=40, train__gradient_accumulation_steps=1, train__num_train_epochs=1,
        train__sample_tokens=0,
    )  # fmt: skip
    process = subprocess.Popen([*ENGINE, str(run.path)], stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    estimate = prepared_in(read_events(run.events)).estimated_memory_bytes
    assert estimate == pytest.approx(usage.ru_maxrss * 1024, rel=0.15)


def test_measuring_memory_has_no_effect_on_the_round(
    reference: Reference, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients are cleared and the random state is restored: the round is the same whatever was measured."""
    measure = memory_budget._try

    def often(forward: Forward, rows: list[Example]) -> int | None:
        for _ in range(3):
            used = measure(forward, rows)
        return used

    monkeypatch.setattr(memory_budget, "_try", often)
    assert figures_of(train_here(make_run(tmp_path / "run", tiny_model))) == figures_of(reference[1])


def test_peak_is_the_most_memory_in_use() -> None:
    def work() -> None:
        tensor = torch.ones(64 * 2**20)  # 256 MiB
        del tensor

    assert 200 * 2**20 < memory_budget._peak_of(work, torch.device("cpu")) < 400 * 2**20


def test_resumed_round_keeps_precision_and_micro_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are measured, and a different result after a resume would make it a different round."""
    monkeypatch.setattr(training_memory, "CPU_TOKENS", 150)
    monkeypatch.setattr("engine.training.runtime.device._multiplies_bfloat16", lambda: True)
    monkeypatch.setattr("engine.training.runtime.device._bfloat16_is_faster", lambda size: True)
    whole = train_here(make_run(tmp_path / "whole", tiny_model, model__dtype="auto"))
    run = make_run(tmp_path / "run", tiny_model, model__dtype="auto")
    train_here(run, stop_after=8)
    monkeypatch.setattr(training_memory, "CPU_TOKENS", 4096)
    monkeypatch.setattr("engine.training.runtime.device._bfloat16_is_faster", lambda size: False)
    events = train_here(run, resume=True)
    assert (prepared_in(events).dtype, prepared_in(events).micro_batch_tokens) == ("bfloat16", 150)
    assert figures_of(events) == figures_of(whole, after=8)
