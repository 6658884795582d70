"""Capture and replay of passes, with a stand-in for a CUDA graph that repeats the work at each replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.system.training_memory import rounded_up
from engine.training.data.batching import Batch, pack
from engine.training.kernels import cuda_graphs
from engine.training.kernels.cuda_graphs import (
    LENGTHS,
    CapturedPass,
    capture,
    captured_length,
    copy_into,
    relative_error,
    static_batch,
)
from engine.training.loop import graph_capture
from engine.training.loop.graph_capture import MIN_USES, common_lengths
from engine.training.loop.step import examples_of, micro_batches
from tests.support.passes import CPU, rows_of
from tests.support.rounds_to_train import figures_of, make_run, prepared, train_here

WIDTH = 3


def fake_graph(work: Callable[[], object]) -> Any:
    """Return a stand-in for a CUDA graph that does `work` at each replay."""
    return SimpleNamespace(replay=work, pool=lambda: None)


class FakeCapture:
    """A stand-in for `_capture_pass`: notes the lengths, and returns passes whose relative error is `error`."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.error = 0.0

    def __call__(
        self, hidden_states_of: Any, parameters: Sequence[torch.Tensor], static: Batch, pool: Any
    ) -> CapturedPass:
        self.lengths.append(static.input_ids.shape[1])
        with torch.no_grad():
            states = torch.empty_like(hidden_states_of(static))
        gradient = torch.empty_like(states)
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        forward_state = torch.get_rng_state()

        def forward() -> None:
            forward_state.copy_(torch.get_rng_state())
            with torch.no_grad():
                states.copy_(hidden_states_of(static) * (1 + self.error))

        def backward() -> None:
            with torch.enable_grad(), torch.random.fork_rng([]):
                torch.set_rng_state(forward_state)
                results = torch.autograd.grad(hidden_states_of(static), list(parameters), gradient)
            for gradient_out, result in zip(gradients, results, strict=True):
                gradient_out.copy_(result)

        return CapturedPass(static, fake_graph(forward), states, gradient, fake_graph(backward), gradients)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> FakeCapture:
    stand_in = FakeCapture()
    monkeypatch.setattr(cuda_graphs, "_capture_pass", stand_in)
    monkeypatch.setattr(cuda_graphs, "no_synchronisation", nullcontext)
    return stand_in


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.linspace(0.1, 1.0, WIDTH).requires_grad_()


@pytest.fixture
def hidden_states_of(weight: torch.Tensor) -> Callable[[Batch], torch.Tensor]:
    """Return a pass that depends on each token and its position."""
    return lambda batch: (batch.input_ids + batch.position_ids)[..., None] * weight


def test_replayed_pass_gives_states_and_gradients_of_its_rows(
    hidden_states_of: Any, weight: Any, captured: FakeCapture
) -> None:
    graphs = capture(hidden_states_of, [weight], [40, 16], 4, 64, pack(rows_of(20, 20), CPU))
    for rows in [(40,), (20, 20), (38, 2), (5, 5, 29, 1), (16,), (4, 8)]:
        batch = pack(rows_of(*rows), CPU)
        replayed, expected = graphs.hidden_states(batch), hidden_states_of(batch)
        if sum(rows) not in (40, 16):
            assert replayed is None
            continue
        assert replayed is not None and torch.equal(replayed, expected)
        weights = torch.linspace(-1, 1, expected.numel()).view(expected.shape)
        ours, theirs = (torch.autograd.grad((states * weights).sum(), weight)[0] for states in (replayed, expected))
        assert torch.equal(ours, theirs)


def test_shorter_batch_is_padded(hidden_states_of: Any, weight: Any, captured: FakeCapture) -> None:
    graphs = capture(hidden_states_of, [weight], [captured_length(70)], 4, 64, pack(rows_of(40), CPU))
    batch = pack(rows_of(30, 36), CPU)
    states = graphs.hidden_states(batch)
    assert states is not None and states.shape[1] == 72 > batch.input_ids.shape[1]
    assert torch.equal(states[:, : batch.input_ids.shape[1]], hidden_states_of(batch))


def test_longest_is_captured_first(hidden_states_of: Any, weight: Any, captured: FakeCapture) -> None:
    """The shorter ones fit into its memory, which does not hold the other way round."""
    capture(hidden_states_of, [weight], [20, 40, 30], 4, 64, pack(rows_of(40), CPU))
    assert captured.lengths == [40, 30, 20]


@pytest.mark.parametrize("wrong", [False, True])
def test_capture_is_checked_at_the_same_random_numbers_and_restores_them(
    wrong: bool, hidden_states_of: Any, weight: Any, captured: FakeCapture
) -> None:
    captured.error = 0.05 * wrong
    example, before = pack(rows_of(40), CPU), torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"differs from an eager one by 5\.0%") if wrong else nullcontext():
        capture(lambda batch: hidden_states_of(batch) * (1 + torch.randn(())), [weight], [40], 4, 64, example)
    assert torch.equal(torch.get_rng_state(), before) and captured.lengths == [40]


def test_common_lengths_are_those_of_the_steps_to_come(tiny_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_model, train__num_train_epochs=8.0, train__gradient_accumulation_steps=4)
    with prepared(run) as training:
        lengths = [
            captured_length(sum(map(len, rows)))
            for step in range(1, (training.plan.total_steps or 0) + 1)
            for rows in micro_batches(training, examples_of(training, step))
        ]
        common = common_lengths(training)
    frequent = {length for length in lengths if lengths.count(length) >= MIN_USES}
    assert set(common) == frequent and 0 < len(frequent) < len(set(lengths))
    assert all(captured_length(sum(map(len, rows))) == length for length, rows in common.items())


def test_round_that_cannot_be_captured_is_trained_without_graphs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CPU of this test has no CUDA graphs, so the capture fails."""
    settings = {"train__num_train_epochs": 4.0}
    expected = figures_of(train_here(make_run(tmp_path / "expected", tiny_model, **settings)))
    monkeypatch.setattr(graph_capture, "_can_be_captured", lambda *_: True)
    assert figures_of(train_here(make_run(tmp_path / "run", tiny_model, **settings))) == expected
    assert "no CUDA graphs are used, as a pass cannot be captured: " in capsys.readouterr().out


@pytest.mark.parametrize("rows", [(60, 4), (1,), (30, 1, 1, 28)])
def test_copied_rows_are_followed_by_one_row_of_padding(rows: tuple[int, ...]) -> None:
    static = static_batch(64, 4, 60, CPU)
    copy_into(pack(rows_of(64), CPU), static)
    copy_into(pack(rows_of(*rows), CPU), static)
    assert static.row_starts is not None
    starts = static.row_starts.tolist()
    assert starts == [*(sum(rows[:n]) for n in range(len(rows) + 1)), *[64] * (5 - len(rows))]
    assert static.input_ids[0, : sum(rows)].tolist() == [token for row in rows_of(*rows) for token in row.tokens]
    assert static.position_ids[0, : sum(rows)].tolist() == [position for row in rows for position in range(row)]


@pytest.mark.parametrize("tokens", [*range(1, 40), 4097, 7000])
def test_row_of_padding_is_not_longer_than_the_batch_says(tokens: int) -> None:
    length = rounded_up(tokens, LENGTHS)
    assert length - tokens <= static_batch(length, 1, 1, CPU).longest
    assert tokens <= length <= tokens * (1 + 1 / LENGTHS)


def test_relative_error_is_that_of_one_vector() -> None:
    error = relative_error(
        [torch.tensor([3.0]), None, torch.tensor([0.0, 4.0])], [torch.tensor([3.0]), None, torch.tensor([3.0, 8.0])]
    )
    assert error == pytest.approx(1.0)
    assert relative_error([torch.ones(1)], [None]) == float("inf")
    assert not relative_error([torch.ones(1)], [torch.tensor([float("nan")])]) <= 1
