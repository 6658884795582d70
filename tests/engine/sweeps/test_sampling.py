"""Points of sweeps, as the sampler's process chooses them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from engine.spec.round import Result, Round, Status, Trial
from engine.sweeps.progress import Progress, progress_of
from engine.sweeps.sampling import Sampler, number_of_points
from engine.sweeps.space import read_space
from engine.sweeps.sweep import SamplerName, Sweep
from tests.support.rounds import make_round, make_spec

RATE = "train.learning_rate"
BEST_RATE = 2e-4


@pytest.fixture(scope="module")
def sampler() -> Iterator[Sampler]:
    sampler = Sampler()
    yield sampler
    sampler.close()


def make_sweep(sampler: SamplerName, ranges: dict[str, str], seed: int = 0) -> Sweep:
    return Sweep(number=1, ranges=ranges, spec=make_spec(), created=0.0, sampler=sampler, seed=seed)


def tried(sweep: Sweep, points: list[tuple[dict[str, str], float | None]]) -> Progress:
    """Return the progress of a sweep after these points, each with its loss."""

    def round_of(number: int, point: dict[str, str], loss: float | None) -> Round:
        status = Status.RUNNING if loss is None else Status.FINISHED
        trial = Trial(sweep=1, setting=number, point=point)
        return make_round(number, status, trial=trial, result=Result(eval_loss=loss))

    return progress_of(sweep, [round_of(number, *each) for number, each in enumerate(points, 1)])


def play(sampler: Sampler, sweep: Sweep, count: int) -> list[dict[str, str]]:
    """Return the points of a sweep whose loss is lowest at `BEST_RATE`."""
    points: list[tuple[dict[str, str], float | None]] = []
    for _ in range(count):
        point = sampler.next_point(tried(sweep, points))
        assert point is not None
        points.append((point, abs(math.log(float(point[RATE]) / BEST_RATE))))
    return [point for point, _ in points]


def test_grid_is_tried_whole_each_point_once(sampler: Sampler) -> None:
    sweep = make_sweep("grid", {"lora.r": "8, 16", RATE: "1e-4, 2e-4, 3e-4"})
    points: list[tuple[dict[str, str], float | None]] = []
    while (point := sampler.next_point(tried(sweep, points))) is not None:
        points.append((point, 1.0))
    assert sorted((point["lora.r"], point[RATE]) for point, _ in points) == sorted(
        (r, rate) for r in ("8", "16") for rate in ("1e-4", "2e-4", "3e-4")
    )


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_points_are_in_their_ranges(name: SamplerName, sampler: Sampler) -> None:
    ranges = {
        "lora.r": "8, 16, 32", RATE: "1e-5..1e-3 log", "lora.lora_alpha": "4..64 step 4",
        "lora.target_modules": "q_proj, v_proj | all-linear",
    }  # fmt: skip
    points = play(sampler, make_sweep(name, ranges), 14)
    for point in points:
        assert point["lora.r"] in ("8", "16", "32") and 1e-5 <= float(point[RATE]) <= 1e-3
        assert int(point["lora.lora_alpha"]) in range(4, 65, 4)
        assert point["lora.target_modules"] in ("q_proj, v_proj", "all-linear")
    assert len({tuple(point.values()) for point in points}) == len(points)


def test_point_depends_on_the_rounds_and_the_seed_alone(sampler: Sampler) -> None:
    ranges = {RATE: "1e-5..1e-3 log"}
    history: list[tuple[dict[str, str], float | None]] = [({RATE: "3e-4"}, 1.0), ({RATE: "4e-4"}, None)]
    sweep = make_sweep("tpe", ranges)
    other = Sampler()
    try:
        assert sampler.next_point(tried(sweep, history)) == other.next_point(tried(sweep, history))
    finally:
        other.close()
    reseeded = make_sweep("tpe", ranges, seed=7)
    assert sampler.next_point(tried(reseeded, history)) != sampler.next_point(tried(sweep, history))


def test_tpe_comes_nearer_to_the_best_than_chance_does(sampler: Sampler) -> None:
    ranges = {RATE: "1e-6..1e-1 log"}

    def distance(name: SamplerName) -> float:
        last = play(sampler, make_sweep(name, ranges), 30)[15:]
        return sum(abs(math.log(float(point[RATE]) / BEST_RATE)) for point in last) / len(last)

    assert distance("tpe") < 0.75 * distance("random")


def test_space_that_is_used_up_has_no_further_point(sampler: Sampler) -> None:
    sweep = make_sweep("tpe", {"lora.r": "8, 16"})
    history: list[tuple[dict[str, str], float | None]] = [({"lora.r": "8"}, 1.0)]
    assert sampler.next_point(tried(sweep, history)) == {"lora.r": "16"}
    assert sampler.next_point(tried(sweep, [*history, ({"lora.r": "16"}, 1.1)])) is None


def test_points_outside_changed_ranges_are_left_out(sampler: Sampler) -> None:
    sweep = make_sweep("tpe", {"lora.r": "8, 16", RATE: "1e-4..1e-3 log"})
    history: list[tuple[dict[str, str], float | None]] = [
        ({"lora.r": "64", RATE: "2e-4"}, 1.0), ({"lora.r": "8", RATE: "5e-2"}, 1.0), ({"lora.r": "8"}, 1.0),
    ]  # fmt: skip
    point = sampler.next_point(tried(sweep, history))
    assert point is not None and point["lora.r"] in ("8", "16")


def test_points_of_a_space_are_counted() -> None:
    space, _ = read_space(["lora.r=8,16,32", "lora.lora_alpha=4..16 step 4"])
    assert number_of_points(space) == 12
    assert number_of_points(read_space(["train.learning_rate=1e-5..1e-3"])[0]) == math.inf
