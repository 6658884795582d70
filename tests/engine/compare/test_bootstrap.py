from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.compare import bootstrap
from engine.compare.bootstrap import Interval, mean_per_token

Values = NDArray[np.float64]


def held_out(examples: int, generator: np.random.Generator) -> tuple[Values, NDArray[np.int64]]:
    """Rows as instruction data has them: a few long ones, short ones harder per token, a heavy tail."""
    tokens = np.maximum(1, generator.lognormal(3.5, 0.8, examples)).astype(np.int64)
    per_token = generator.gamma(2.0, 0.6, examples) * (1 + 8 / np.sqrt(tokens)) / 2
    return per_token * tokens, tokens


@pytest.mark.sample(1)
@pytest.mark.parametrize("examples", [12, 50, 260])
def test_interval_covers_the_truth_as_often_as_it_says(examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 1,000 samples of a population whose loss is known: 95 %, give or take 2.2 for the few examples and chance."""
    monkeypatch.setattr(bootstrap, "DRAWS", 1000)
    nats, tokens = held_out(1_000_000, np.random.default_rng(1))
    truth = nats.sum() / tokens.sum()
    generator = np.random.default_rng(2)
    intervals = [mean_per_token(*map(list, held_out(examples, generator))) for _ in range(1000)]
    covered = sum(item is not None and item.low <= truth <= item.high for item in intervals) / 1000
    assert covered == pytest.approx(0.95, abs=0.022)


def test_paired_interval_covers_a_small_difference_and_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.02 nats between two models, where the loss itself is only known to 0.2: pairing is what finds it."""
    monkeypatch.setattr(bootstrap, "DRAWS", 1000)
    generator = np.random.default_rng(3)
    covered = detected = 0
    for _ in range(300):
        nats, tokens = held_out(200, generator)
        differences = tokens * generator.normal(-0.02, 0.05, 200)
        alone, paired = mean_per_token(list(nats), list(tokens)), mean_per_token(list(differences), list(tokens))
        assert alone is not None and paired is not None
        assert alone.high - alone.low > 0.1
        covered += paired.low <= -0.02 <= paired.high
        detected += not paired.holds_zero
    assert covered / 300 == pytest.approx(0.95, abs=0.035)
    assert detected / 300 > 0.9


def test_ends_are_those_of_a_plain_bootstrap() -> None:
    """Resamples of rows drawn with replacement, one by one, each studentised by its own residuals."""
    nats, tokens = held_out(300, np.random.default_rng(4))
    interval = mean_per_token(list(nats), list(tokens))
    assert interval is not None
    value = nats.sum() / tokens.sum()
    generator = np.random.default_rng(5)
    studentised = []
    for _ in range(4000):
        rows = generator.integers(0, 300, 300)
        drawn = nats[rows].sum() / tokens[rows].sum()
        error = math.sqrt(np.square(nats[rows] - drawn * tokens[rows]).sum()) / tokens[rows].sum()
        studentised.append((drawn - value) / error)
    low, high = np.quantile(studentised, [0.975, 0.025])
    assert interval.value == pytest.approx(value)
    assert interval.low == pytest.approx(value - low * interval.error, abs=0.08 * (interval.high - interval.low))
    assert interval.high == pytest.approx(value - high * interval.error, abs=0.08 * (interval.high - interval.low))


def test_same_examples_give_the_same_interval() -> None:
    nats, tokens = (list(values) for values in held_out(100, np.random.default_rng(6)))
    assert mean_per_token(nats, tokens) == mean_per_token(nats, tokens)


def test_size_of_numbers_does_not_matter() -> None:
    nats, tokens = held_out(100, np.random.default_rng(7))
    plain, large = mean_per_token(list(nats), list(tokens)), mean_per_token(list(nats * 1e12), list(tokens))
    assert plain is not None and large is not None
    assert (large.low / 1e12, large.high / 1e12) == pytest.approx((plain.low, plain.high), rel=1e-4)


@pytest.mark.parametrize(
    ("nats", "tokens"),
    [
        ([], []),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1] * 7),
        ([2.0] * 20, [1] * 20),
        ([0.0] * 20, list(range(1, 21))),
        ([math.nan, *[1.0, 2.0] * 10], [1] * 21),
        ([math.inf, *[1.0, 2.0] * 10], [1] * 21),
    ],
    ids=["none", "too few", "all alike", "identical models", "not a number", "infinite"],
)
def test_there_is_no_interval_where_nothing_can_be_said(nats: list[float], tokens: list[int]) -> None:
    assert mean_per_token(nats, tokens) is None


def test_fewest_examples_have_one() -> None:
    assert mean_per_token([1.0, 2.0, 4.0, 2.5, 1.5, 3.0, 2.0, 6.0], [1] * 8) is not None


def test_examples_to_settle_a_difference() -> None:
    """With an error of 0.02 over 100 examples, 0.01 is (2.8 x 2)^2 = 31.36 times too small to be found."""
    assert Interval(0.01, 0.02, -0.03, 0.05).examples_to_settle(100) == pytest.approx(3136)
    assert Interval(0.0, 0.02, -0.04, 0.04).examples_to_settle(100) == math.inf
