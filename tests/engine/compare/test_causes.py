"""Settings that changed at once, and the rounds between: counted by hand and against every order of the changes."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compare.causes import (
    WITHOUT_EFFECT,
    ChangesAtOnce,
    changes_at_once,
    factor_values,
    factors,
    numbers_by_factors,
)
from engine.compare.lineage import all_changes_at_once, families
from engine.files.paths import Workspace
from engine.spec.fields import spec_fields
from engine.spec.overrides import set_line, spec_from_settings
from engine.spec.round import Round, Status, Trial
from engine.spec.schema import Spec
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round, make_spec

# Four changes of one setting each, from the defaults.
CHANGES: list[dict[str, object]] = [
    {"lora__r": 16}, {"train__learning_rate": 1e-4}, {"train__num_train_epochs": 1.0}, {"train__warmup_steps": 10.0},
]  # fmt: skip
NUMBERS = [frozenset(each) for size in range(1, 4) for each in combinations(range(4), size)]


def spec_with(changes: frozenset[int]) -> Spec:
    return make_spec(**{key: value for place in changes for key, value in CHANGES[place].items()})


def between(spec: Spec, *others: Round, parent: Spec | None = None) -> ChangesAtOnce | None:
    """The changes from round 1 to round 2, beside rounds that came from nothing."""
    first, second = make_round(1, spec=parent), make_round(2, parent=1, spec=spec)
    return changes_at_once(first, second, numbers_by_factors([first, second, *others]))


def changed_at_once(**settings: object) -> list[str]:
    at_once = between(make_spec(**settings))
    return [] if at_once is None else [factor.name for factor in at_once.factors]


def test_every_field_belongs_to_one_factor_or_is_without_effect() -> None:
    keys = [key for factor in factors() for key in factor.keys]
    assert sorted([*keys, *WITHOUT_EFFECT]) == sorted(spec_fields())


def test_reference_rounds_lack_six_rounds(reference_workspace: Workspace) -> None:
    """By the table of the five: of learning rate, epochs and warm-up 2, 3, 3 and 2 changed, so 1 + 2 + 2 + 1."""
    rounds = RoundStore(reference_workspace).rounds()
    (family,) = families(rounds)
    missing = [
        (number, spec.train.learning_rate, spec.train.num_train_epochs, spec.train.warmup_steps)
        for number, at_once in all_changes_at_once(family, rounds).items()
        for spec in at_once.missing
    ]
    assert missing == [
        (2, 5e-5, 3, 100),
        (3, 2e-5, 4, 100), (3, 2e-5, 5, 100),
        (4, 5e-5, 5, 300), (4, 5e-5, 3, 300),
        (5, 3e-5, 3, 50),
    ]  # fmt: skip


def test_one_of_the_six_lies_between_two_pairs_of_rounds(reference_workspace: Workspace) -> None:
    """Round 1 at 5e-5 is round 4 with the warm-up of round 5, so that five more rounds are enough."""
    rounds = RoundStore(reference_workspace).rounds()
    settings = ["train.learning_rate=5e-5"]
    rounds.append(make_round(6, Status.QUEUED, spec=spec_from_settings(rounds[0].spec, settings)))
    all_at_once = all_changes_at_once(families(rounds)[0], rounds)
    assert {number: (at_once.made, len(at_once.missing)) for number, at_once in all_at_once.items()} == {
        2: ([6], 0), 3: ([], 2), 4: ([], 2), 5: ([6], 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lora__r": 16},
        {"lora__r": 16, "train__seed": 1, "train__logging_steps": 5, "train__save_strategy": "no"},
        {"lora__r": 16, "train__per_device_train_batch_size": 8, "train__gradient_accumulation_steps": 4},
        {"train__per_device_train_batch_size": 8, "train__gradient_accumulation_steps": 8},
        {"lora__r": 16, "model__path": "some/model/", "data__path": "some//data"},
        {"lora__r": 16, "train__eval_strategy": "steps", "train__eval_steps": 5.0},
        {"train__max_steps": 10, "train__num_train_epochs": 1.0},
        {"data__path": "other/data", "data__name": "main", "data__split": "train"},
    ],
)
def test_one_setting_that_counts_is_a_cause_that_can_be_read(settings: dict[str, object]) -> None:
    assert changed_at_once(**settings) == []


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"train__per_device_train_batch_size": 8, "lora__r": 16}, ["lora.r", "effective_batch"]),
        ({"lora__r": 16, "lora__lora_alpha": 16}, ["lora.r", "lora.lora_alpha"]),
        ({"lora__r": 16, "data__seed": 1}, ["data.seed", "lora.r"]),
        (
            {"lora__r": 16, "train__eval_strategy": "steps", "train__early_stopping_patience": 2},
            ["lora.r", "train.eval_strategy"],
        ),
    ],
)
def test_several_that_count_are_named_in_the_order_of_the_spec(settings: dict[str, object], names: list[str]) -> None:
    assert changed_at_once(**settings) == names


def test_change_of_the_batch_is_made_in_both_its_fields() -> None:
    spec = make_spec(train__per_device_train_batch_size=2, train__gradient_accumulation_steps=32, lora__r=16)
    at_once = between(spec, make_round(3, Status.QUEUED, spec=make_spec(lora__r=16)))
    assert at_once is not None and (at_once.missing, at_once.made) == ([], [3])
    later = make_spec(
        train__per_device_train_batch_size=2, train__gradient_accumulation_steps=32, train__warmup_steps=5
    )
    at_once = between(later)
    assert at_once is not None
    assert [set_line(spec, make_spec()) for spec in at_once.missing] == [
        "--set train.per_device_train_batch_size=2 --set train.gradient_accumulation_steps=32"
    ]


def test_round_without_a_result_is_missing_again() -> None:
    with_rank = make_spec(lora__r=16)
    for status in (Status.FAILED, Status.STOPPED, Status.INTERRUPTED):
        at_once = between(make_spec(lora__r=16, lora__lora_alpha=16), make_round(3, status, spec=with_rank))
        assert at_once is not None and at_once.missing == [with_rank]


def test_round_of_a_sweep_is_left_to_its_sweep() -> None:
    spec = make_spec(lora__r=16, lora__lora_alpha=16)
    trial = make_round(2, parent=1, spec=spec, trial=Trial(sweep=1, setting=1, point={}))
    assert changes_at_once(make_round(1), trial, {}) is None


def longest_line(existing: set[frozenset[int]], above: frozenset[int] = frozenset()) -> int:
    """The most rounds that exist of those between, each with more changes than the one before."""
    return max((1 + longest_line(existing, each) for each in existing if above < each), default=0)


@given(st.sets(st.sampled_from(NUMBERS)))
def test_fewest_rounds_are_missing_whichever_exist(existing: set[frozenset[int]]) -> None:
    others = [make_round(10 + NUMBERS.index(each), spec=spec_with(each)) for each in existing]
    at_once = between(spec_with(frozenset(range(4))), *others)
    assert at_once is not None
    assert len(at_once.between) == 3
    assert len(at_once.missing) == 3 - longest_line(existing)
    assert {NUMBERS[number - 10] for number in at_once.made} <= existing
    way = [at_once.parent.spec, *(at_once.spec_with(each.changes) for each in at_once.between), at_once.round.spec]
    for before, after in pairwise(map(factor_values, way)):
        assert sum(first != second for first, second in zip(before, after, strict=True)) == 1


@given(st.sets(st.sampled_from(range(4)), min_size=2))
def test_command_of_a_missing_round_makes_it(places: set[int]) -> None:
    at_once = between(spec_with(frozenset(places)))
    assert at_once is not None and len(at_once.missing) == len(places) - 1
    for spec in at_once.missing:
        settings = [word for word in set_line(spec, at_once.parent.spec).split() if word != "--set"]
        assert spec_from_settings(at_once.parent.spec, settings) == spec


def test_many_changes_are_taken_apart_too() -> None:
    """Of 12 changes there are 479,001,600 orders."""
    names = ["r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora"]
    lora = dict(zip(names, [16, 16, 0.5, True, True], strict=True))
    train = {
        "learning_rate": 1e-4,
        "num_train_epochs": 1.0,
        "warmup_steps": 9.0,
        "weight_decay": 0.1,
        "adam_beta1": 0.8,
    }
    settings = {f"lora__{key}": value for key, value in lora.items()}
    settings |= {f"train__{key}": value for key, value in train.items()}
    at_once = between(make_spec(**settings, data__samples=50, data__max_length=64))
    assert at_once is not None
    assert (len(at_once.factors), len(at_once.missing)) == (12, 11)
