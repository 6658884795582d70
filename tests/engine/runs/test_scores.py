from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.compare.bootstrap import Interval
from engine.compare.paired_bootstrap import PairedScores, pair
from engine.compare.verdict import verdict_on
from engine.files.paths import RunDir
from engine.runs.scores import Scores, read_scores, write_scores


def scores(nlls: dict[str, float | None]) -> Scores:
    return Scores(tuple(nlls), (10,) * len(nlls), tuple(nlls.values()))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def many(count: int, seed: int, shift: float = 0.0) -> Scores:
    generator = np.random.default_rng(seed)
    base = np.random.default_rng(0).gamma(2, 10, count)
    nlls = base + generator.normal(shift, 1, count)
    return Scores(tuple(f"{index:016x}" for index in range(count)), (10,) * count, tuple(map(float, nlls)))


def test_scores_come_back_as_they_were_written(run: RunDir) -> None:
    written = scores({"aa": 1.5, "bb": None, "cc": 1e-9})
    write_scores(run, 12, written)
    assert read_scores(run, 12) == written
    assert read_scores(run, 0) is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b'{"examples":["a"],"tokens":[1],"nlls":[]}', b'{"examples":["a"],"tokens":[0],"nlls":[1]}',
        b'{"examples":["a"],"tokens":[1],"nlls":["x"]}', b"[" * 100_000, b"\xff",
    ],
)  # fmt: skip
def test_file_that_does_not_hold_together_is_no_scores(run: RunDir, content: bytes) -> None:
    run.scores.mkdir()
    (run.scores / "step-3.json").write_bytes(content)
    assert read_scores(run, 3) is None


def test_link_in_the_place_of_scores_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    write_scores(run, 1, scores({"aa": 1.0}))
    (run.scores / "step-2.json").symlink_to(run.scores / "step-1.json")
    assert read_scores(run, 2) is None


@pytest.mark.parametrize(("shift", "verdict"), [(-1.0, "better"), (1.0, "worse"), (0.0, "no difference")])
def test_verdict_on_the_same_examples(shift: float, verdict: str) -> None:
    paired = pair(many(200, 1), many(200, 2, shift))
    assert (paired.common, paired.only_first, paired.only_second) == (200, 0, 0)
    assert verdict_on(1, 2, paired).word == verdict
    assert paired.difference is not None
    assert paired.difference.value == pytest.approx(shift / 10, abs=0.03)


def test_examples_are_paired_by_what_they_are_and_not_by_their_place() -> None:
    first = many(50, 1)
    order = np.random.default_rng(3).permutation(50)
    shuffled = Scores(
        tuple(first.examples[index] for index in order), first.tokens, tuple(first.nlls[index] for index in order)
    )
    paired = pair(first, shuffled)
    assert paired.common == 50 and paired.difference is None


def test_only_examples_that_both_have_are_compared() -> None:
    first, second = many(60, 1), many(80, 2)
    paired = pair(first, second)
    assert (paired.common, paired.only_first, paired.only_second) == (60, 0, 20)
    cut = Scores(second.examples[:60], second.tokens[:60], second.nlls[:60])
    assert paired.difference == pair(first, cut).difference


def test_example_that_is_there_twice_is_paired_twice_and_no_more() -> None:
    twice, thrice = Scores(("aa",) * 2, (10,) * 2, (1.0, 2.0)), Scores(("aa",) * 3, (10,) * 3, (3.0, 4.0, 5.0))
    assert (pair(twice, thrice).common, pair(thrice, twice).common) == (2, 2)


def test_example_without_a_number_is_left_out() -> None:
    assert pair(scores({"aa": 1.0, "bb": None, "cc": 2.0}), scores({"aa": None, "bb": 1.0, "cc": 3.0})).common == 1


def test_examples_that_would_settle_it() -> None:
    open_, settled = Interval(0.01, 0.02, -0.03, 0.05), Interval(-0.1, 0.02, -0.14, -0.06)
    assert PairedScores(100, 0, 0, open_).examples_to_settle == 3136
    assert PairedScores(100, 0, 0, settled).examples_to_settle is None
    assert PairedScores(100, 0, 0, Interval(0.0, 0.02, -0.04, 0.04)).examples_to_settle is None
    assert PairedScores(3, 9, 0, None).examples_to_settle is None
