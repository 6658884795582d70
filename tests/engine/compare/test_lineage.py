"""Families of rounds: who came from whom, what changed, in which order it is told."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare.comparability import moved
from engine.compare.lineage import Kin, changes, families, family_of, field_name, kin_fields
from engine.errors import RoundError
from engine.files.paths import Workspace
from engine.spec.round import Result, Round
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round, make_spec

PARENTS = st.dictionaries(st.integers(1, 30), st.none() | st.integers(1, 35), max_size=30)
MANY = 10_000


def born(parents: dict[int, int | None]) -> list[Round]:
    """Rounds by number and the number of the round each says it came from."""
    return [make_round(number, parent=parent) for number, parent in parents.items()]


def order(parents: dict[int, int | None]) -> list[list[tuple[int, int, bool]]]:
    return [[(kin.number, kin.depth, kin.branches) for kin in family] for family in families(born(parents))]


def test_reference_rounds_are_one_line_with_what_changed_and_how_it_moved(reference_workspace: Workspace) -> None:
    (family,) = families(RoundStore(reference_workspace).rounds())
    assert [(kin.number, kin.depth, kin.branches, kin.goes_on) for kin in family] == [
        (1, 0, False, True), (2, 0, False, True), (3, 0, False, True), (4, 0, False, True), (5, 0, False, False),
    ]  # fmt: skip
    assert changes(family[0]) == []
    assert [(field_name(item.key), item.old, item.new) for item in changes(family[2])] == [
        ("learning_rate", "5e-5", "2e-5"), ("num_train_epochs", "4", "5"), ("warmup_steps", "100", "300"),
    ]  # fmt: skip
    percents = [kin_fields(kin)["against_parent"] for kin in family]
    perplexities = [4.79, 3.16, 3.19, 3.62, 3.38]
    expected = [100 * (b / a - 1) for a, b in pairwise(perplexities)]
    assert percents == [None, *(pytest.approx(value) for value in expected)]


def test_side_branches_are_told_before_the_line_that_goes_furthest() -> None:
    assert order({1: None, 2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: 1}) == [
        [(1, 0, False), (5, 1, True), (6, 1, False), (7, 1, True), (2, 0, False), (3, 0, False), (4, 0, False)]
    ]


def test_of_equal_lines_the_later_goes_on() -> None:
    assert order({1: None, 2: 1, 3: 1}) == [[(1, 0, False), (2, 1, True), (3, 0, False)]]


def test_rounds_that_came_from_nothing_each_begin_a_family() -> None:
    assert order({2: None, 1: None, 3: 2}) == [[(1, 0, False)], [(2, 0, False), (3, 0, False)]]
    assert order({}) == []


def test_rounds_whose_parent_was_deleted_stay_a_family() -> None:
    (family,) = families(born({4: 2, 5: 2}))
    assert [(kin.number, kin.round is None, kin.parent) for kin in family] == [
        (2, True, None), (4, False, None), (5, False, None),
    ]  # fmt: skip
    assert [kin_fields(kin)["parent"] for kin in family] == [None, 2, 2]
    assert [changes(kin) for kin in family] == [[], [], []]
    assert family_of(born({4: 2, 5: 2}), 5) == family_of(born({4: 2, 5: 2}), 2) == family


def test_number_that_no_round_has_is_no_family() -> None:
    with pytest.raises(RoundError, match="no round 3"):
        family_of(born({4: 2}), 3)


@pytest.mark.parametrize("parents", [{1: 1}, {1: 2, 2: 1}, {3: 1, 1: 2, 2: 3, 4: 3, 5: 4}])
def test_circle_is_cut_at_its_lowest_number(parents: dict[int, int | None]) -> None:
    (family,) = families(born(parents))
    assert [kin.number for kin in family if kin.circular] == [1] == [family[0].number]
    assert {kin.number for kin in family} == set(parents)


def root_of(number: int, parents: dict[int, int | None]) -> int:
    """The end of the way up, or the lowest number of the circle that it leads into."""
    way: list[int] = []
    current: int | None = number
    while current is not None and current not in way:
        way.append(current)
        current = parents.get(current)
    return way[-1] if current is None else min(way[way.index(current) :])


@given(PARENTS)
def test_every_round_is_told_once_below_its_parent_in_the_right_family(parents: dict[int, int | None]) -> None:
    listed = families(born(parents))
    everyone = [kin for family in listed for kin in family]
    assert {kin.number for kin in everyone if kin.round is not None} == set(parents)
    assert len({kin.number for kin in everyone}) == len(everyone)
    for family in listed:
        assert {root_of(kin.number, parents) for kin in family} == {family[0].number}
        place = {kin.number: index for index, kin in enumerate(family)}
        for kin in family[1:]:
            above = parents[kin.number]
            assert above is not None and place[above] < place[kin.number]
            assert kin.depth == family[place[above]].depth + kin.branches
        assert max(kin.depth for kin in family) <= math.log2(len(family))


def chain(count: int) -> dict[int, int | None]:
    return {number: number - 1 or None for number in range(1, count + 1)}


def comb(count: int) -> dict[int, int | None]:
    """Each second round is a dead end."""
    return {number: max(1, number - 1 - number % 2) if number > 1 else None for number in range(1, count + 1)}


def bush(count: int) -> dict[int, int | None]:
    chance = random.Random(5)
    return {number: chance.randrange(1, number) if number > 1 else None for number in range(1, count + 1)}


@pytest.mark.parametrize("grow", [chain, comb, bush])
def test_ten_thousand_rounds_are_a_shallow_tree(grow: object) -> None:
    assert callable(grow)
    parents = grow(MANY)
    (family,) = families(born(parents))
    assert len(family) == MANY
    assert max(kin.depth for kin in family) <= math.log2(MANY)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("train.learning_rate", "learning_rate"),
        ("lora.r", "r"),
        ("data.seed", "data.seed"),
        ("model.path", "model.path"),
    ],
)
def test_field_has_its_librarys_name_where_that_is_plain(key: str, name: str) -> None:
    assert field_name(key) == name


def test_round_on_other_held_out_tokens_has_not_moved() -> None:
    first = make_round(1, result=Result(perplexity=4.0))
    second = make_round(
        2, parent=1, spec=make_spec(data__samples=50), result=Result(perplexity=2.0, base_perplexity=8.0)
    )
    kin = families([first, second])[0][1]
    fields = kin_fields(kin)
    assert isinstance(kin, Kin) and moved(first, second) is None
    assert (fields["against_parent"], fields["against_base"]) == (None, -75.0)
    assert fields["other_held_out_tokens"] == "other examples (data.samples)"
