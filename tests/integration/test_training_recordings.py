"""Which passes are recorded, and what is put into them. A stand-in for CUDA's graphs computes each replay anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.training import recordings
from engine.training.batches import Batch, pack, rounded_up
from engine.training.recordings import LENGTHS, RecordedPass, Recordings, lasting_batch, put_in_place, relative_error
from tests.integration.test_training_forward import CPU, rows_of

WIDTH = 3


def played(work: Callable[[], object]) -> Any:
    """What stands in for a CUDA graph: the same work done again."""
    return SimpleNamespace(replay=work, pool=lambda: None)


class PlayedRecordings(Recordings):
    """Recordings without a GPU; `recorded` has the length of each, and what they give is wrong by `error`."""

    def __init__(self, *arguments: Any, error: float = 0.0) -> None:
        super().__init__(*arguments)
        self.recorded: list[int] = []
        self.error = error

    def _captured(self, lasting: Batch) -> RecordedPass:
        self.recorded.append(lasting.input_ids.shape[1])
        with torch.no_grad():
            states = torch.empty_like(self._states_of(lasting))
        gradient = torch.empty_like(states)
        gradients = [torch.empty_like(parameter) for parameter in self._parameters]
        drawn_from = torch.get_rng_state()

        def there() -> None:
            drawn_from.copy_(torch.get_rng_state())
            with torch.no_grad():
                states.copy_(self._states_of(lasting) * (1 + self.error))

        def back() -> None:
            with torch.enable_grad(), torch.random.fork_rng([]):
                torch.set_rng_state(drawn_from)
                found = torch.autograd.grad(self._states_of(lasting), list(self._parameters), gradient)
            for kept, of_one in zip(gradients, found, strict=True):
                kept.copy_(of_one)

        there_graph, back_graph = played(there), played(back)
        return RecordedPass(lasting, there_graph, states, gradient, back_graph, gradients)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.linspace(0.1, 1.0, WIDTH).requires_grad_()


@pytest.fixture
def states_of(weight: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Callable[[Batch], torch.Tensor]:
    """A pass that takes each token and its position into account."""
    monkeypatch.setattr(recordings, "no_synchronisation", nullcontext)
    return lambda batch: (batch.input_ids + batch.position_ids)[..., None] * weight


def make_recordings(states_of: Any, weight: torch.Tensor, said: list[str], error: float = 0.0) -> PlayedRecordings:
    return PlayedRecordings(states_of, [weight], 64, 4, said.append, error=error)


def taken(made: Recordings, rows: tuple[int, ...]) -> torch.Tensor | None:
    torch.manual_seed(1)
    return made.states(pack(rows_of(*rows), CPU))


def test_length_that_comes_again_is_recorded(states_of: Any, weight: torch.Tensor) -> None:
    said = list[str]()
    made = make_recordings(states_of, weight, said)
    found = [taken(made, rows) for rows in [(33, 7), (20,), (20, 20), (39,), (10, 29)]]
    assert [states is not None for states in found] == [False, False, True, True, True]
    assert made.recorded == [40] and said == ["passes whose length comes again are recorded as CUDA graphs"]


def test_recorded_pass_gives_states_and_gradients_of_its_rows(states_of: Any, weight: torch.Tensor) -> None:
    made = make_recordings(states_of, weight, [])
    for rows in [(40,), (20, 20), (38, 2), (5, 5, 29)]:
        found = taken(made, rows)
        torch.manual_seed(1)
        wanted = states_of(pack(rows_of(*rows), CPU))
        if found is not None:
            tokens = wanted.shape[1]
            assert torch.equal(found[:, :tokens], wanted)
            ours, theirs = (torch.autograd.grad(states[:, :tokens].sum(), weight)[0] for states in (found, wanted))
            assert torch.equal(ours, theirs)


def test_longer_pass_takes_the_memory_of_the_shorter_ones(states_of: Any, weight: torch.Tensor) -> None:
    made = make_recordings(states_of, weight, [])
    for rows in [(20,), (20,), (30, 10), (30, 10), (20,), (40,), (30,), (30,), (20,)]:
        taken(made, rows)
    assert made.recorded == [20, 40, 20, 30]


def test_pass_that_comes_out_wrong_is_never_recorded_again(states_of: Any, weight: torch.Tensor) -> None:
    said = list[str]()
    made = make_recordings(states_of, weight, said, error=0.05)
    assert [taken(made, (40,)) for _ in range(4)] == [None] * 4
    assert made.recorded == [40]
    assert said == ["passes are not recorded as CUDA graphs: they would be wrong by 5.0%"]


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_recording_is_tried_at_the_same_random_numbers_and_leaves_them_as_they_were(
    error: float, states_of: Any, weight: torch.Tensor
) -> None:
    said = list[str]()
    made = make_recordings(lambda batch: states_of(batch) * (1 + torch.randn(())), weight, said, error)
    taken(made, (40,))
    torch.manual_seed(1)
    batch, before = pack(rows_of(40), CPU), torch.get_rng_state()
    made._pass_for(batch)
    assert torch.equal(torch.get_rng_state(), before) and len(said) == 1 and ("not" in said[0]) == (error > 0)


def test_nothing_is_recorded_after_the_end(states_of: Any, weight: torch.Tensor) -> None:
    made = make_recordings(states_of, weight, [])
    assert [taken(made, (40,)) is None for _ in range(2)] == [True, False]
    made.end()
    assert [taken(made, (40,)) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize("rows", [(60, 4), (1,), (30, 1, 1, 28)])
def test_rows_put_in_place_are_followed_by_one_of_nothing(rows: tuple[int, ...]) -> None:
    lasting = lasting_batch(64, 4, 60, CPU)
    put_in_place(pack(rows_of(64), CPU), lasting)
    put_in_place(pack(rows_of(*rows), CPU), lasting)
    assert lasting.row_starts is not None
    starts = lasting.row_starts.tolist()
    assert starts == [*(sum(rows[:n]) for n in range(len(rows) + 1)), *[64] * (5 - len(rows))]
    assert lasting.input_ids[0, : sum(rows)].tolist() == [token for row in rows_of(*rows) for token in row.tokens]
    assert lasting.position_ids[0, : sum(rows)].tolist() == [place for row in rows for place in range(row)]


@pytest.mark.parametrize("tokens", [*range(1, 40), 4097, 7000])
def test_filled_up_row_is_none_longer_than_a_batch_says(tokens: int) -> None:
    length = rounded_up(tokens, LENGTHS)
    assert length - tokens <= lasting_batch(length, 1, 1, CPU).longest
    assert tokens <= length <= tokens * (1 + 1 / LENGTHS)


def test_error_is_that_of_all_together() -> None:
    apart = relative_error(
        [torch.tensor([3.0]), None, torch.tensor([0.0, 4.0])], [torch.tensor([3.0]), None, torch.tensor([3.0, 8.0])]
    )
    assert apart == pytest.approx(1.0)
    assert relative_error([torch.ones(1)], [None]) == float("inf")
    assert not relative_error([torch.ones(1)], [torch.tensor([float("nan")])]) <= 1
