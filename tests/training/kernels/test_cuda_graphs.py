"""What is recorded, and what is put into it. A stand-in for CUDA's graphs does the work of each replay anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.training.data.batching import Batch, pack, rounded_up
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
from engine.training.loop.graph_capture import PAYS, common_lengths
from engine.training.loop.step import examples_of, micro_batches
from tests.support.passes import CPU, rows_of
from tests.support.rounds_to_train import figures_of, make_run, prepared, train_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

WIDTH = 3


def played(work: Callable[[], object]) -> Any:
    """What stands in for a CUDA graph: the same work done again."""
    return SimpleNamespace(replay=work, pool=lambda: None)


class Captured:
    """Stands in for `_capture_pass`; `lengths` has the length of each, and what they give is wrong by `error`."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.error = 0.0

    def __call__(
        self, hidden_states_of: Any, parameters: Sequence[torch.Tensor], lasting: Batch, pool: Any
    ) -> CapturedPass:
        self.lengths.append(lasting.input_ids.shape[1])
        with torch.no_grad():
            states = torch.empty_like(hidden_states_of(lasting))
        gradient = torch.empty_like(states)
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        drawn_from = torch.get_rng_state()

        def there() -> None:
            drawn_from.copy_(torch.get_rng_state())
            with torch.no_grad():
                states.copy_(hidden_states_of(lasting) * (1 + self.error))

        def back() -> None:
            with torch.enable_grad(), torch.random.fork_rng([]):
                torch.set_rng_state(drawn_from)
                found = torch.autograd.grad(hidden_states_of(lasting), list(parameters), gradient)
            for kept, of_one in zip(gradients, found, strict=True):
                kept.copy_(of_one)

        return CapturedPass(lasting, played(there), states, gradient, played(back), gradients)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    stand_in = Captured()
    monkeypatch.setattr(cuda_graphs, "_capture_pass", stand_in)
    monkeypatch.setattr(cuda_graphs, "no_synchronisation", nullcontext)
    return stand_in


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.linspace(0.1, 1.0, WIDTH).requires_grad_()


@pytest.fixture
def hidden_states_of(weight: torch.Tensor) -> Callable[[Batch], torch.Tensor]:
    """A pass that takes each token and its position into account."""
    return lambda batch: (batch.input_ids + batch.position_ids)[..., None] * weight


def test_recorded_pass_gives_states_and_gradients_of_its_rows(
    hidden_states_of: Any, weight: Any, captured: Captured
) -> None:
    graphs = capture(hidden_states_of, [weight], [40, 16], 4, 64, pack(rows_of(20, 20), CPU))
    for rows in [(40,), (20, 20), (38, 2), (5, 5, 29, 1), (16,), (4, 8)]:
        batch = pack(rows_of(*rows), CPU)
        found, wanted = graphs.hidden_states(batch), hidden_states_of(batch)
        if sum(rows) not in (40, 16):
            assert found is None
            continue
        assert found is not None and torch.equal(found, wanted)
        weights = torch.linspace(-1, 1, wanted.numel()).view(wanted.shape)
        ours, theirs = (torch.autograd.grad((states * weights).sum(), weight)[0] for states in (found, wanted))
        assert torch.equal(ours, theirs)


def test_shorter_batch_is_filled_up(hidden_states_of: Any, weight: Any, captured: Captured) -> None:
    graphs = capture(hidden_states_of, [weight], [captured_length(70)], 4, 64, pack(rows_of(40), CPU))
    batch = pack(rows_of(30, 36), CPU)
    found = graphs.hidden_states(batch)
    assert found is not None and found.shape[1] == 72 > batch.input_ids.shape[1]
    assert torch.equal(found[:, : batch.input_ids.shape[1]], hidden_states_of(batch))


def test_longest_is_recorded_first(hidden_states_of: Any, weight: Any, captured: Captured) -> None:
    """As the shorter ones fit into its memory, and not the reverse."""
    capture(hidden_states_of, [weight], [20, 40, 30], 4, 64, pack(rows_of(40), CPU))
    assert captured.lengths == [40, 30, 20]


@pytest.mark.parametrize("wrong", [False, True])
def test_recording_is_tried_at_the_same_random_numbers_and_leaves_them_as_they_were(
    wrong: bool, hidden_states_of: Any, weight: Any, captured: Captured
) -> None:
    captured.error = 0.05 * wrong
    example, before = pack(rows_of(40), CPU), torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"wrong by 5\.0%") if wrong else nullcontext():
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
        found = common_lengths(training)
    wanted = {length for length in lengths if lengths.count(length) >= PAYS}
    assert set(found) == wanted and 0 < len(wanted) < len(set(lengths))
    assert all(captured_length(sum(map(len, rows))) == length for length, rows in found.items())


def test_round_that_cannot_be_recorded_is_trained_all_the_same(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on this device, which has no CUDA graphs."""
    settings = {"train__num_train_epochs": 4.0}
    wanted = figures_of(train_here(make_run(tmp_path / "wanted", tiny_model, **settings)))
    monkeypatch.setattr(graph_capture, "_can_be_captured", lambda *_: True)
    assert figures_of(train_here(make_run(tmp_path / "run", tiny_model, **settings))) == wanted
    assert "passes are not recorded as CUDA graphs: " in capsys.readouterr().out


@pytest.mark.parametrize("rows", [(60, 4), (1,), (30, 1, 1, 28)])
def test_rows_put_in_place_are_followed_by_one_of_nothing(rows: tuple[int, ...]) -> None:
    lasting = static_batch(64, 4, 60, CPU)
    copy_into(pack(rows_of(64), CPU), lasting)
    copy_into(pack(rows_of(*rows), CPU), lasting)
    assert lasting.row_starts is not None
    starts = lasting.row_starts.tolist()
    assert starts == [*(sum(rows[:n]) for n in range(len(rows) + 1)), *[64] * (5 - len(rows))]
    assert lasting.input_ids[0, : sum(rows)].tolist() == [token for row in rows_of(*rows) for token in row.tokens]
    assert lasting.position_ids[0, : sum(rows)].tolist() == [place for row in rows for place in range(row)]


@pytest.mark.parametrize("tokens", [*range(1, 40), 4097, 7000])
def test_filled_up_row_is_none_longer_than_a_batch_says(tokens: int) -> None:
    length = rounded_up(tokens, LENGTHS)
    assert length - tokens <= static_batch(length, 1, 1, CPU).longest
    assert tokens <= length <= tokens * (1 + 1 / LENGTHS)


def test_error_is_that_of_all_together() -> None:
    apart = relative_error(
        [torch.tensor([3.0]), None, torch.tensor([0.0, 4.0])], [torch.tensor([3.0]), None, torch.tensor([3.0, 8.0])]
    )
    assert apart == pytest.approx(1.0)
    assert relative_error([torch.ones(1)], [None]) == float("inf")
    assert not relative_error([torch.ones(1)], [torch.tensor([float("nan")])]) <= 1
