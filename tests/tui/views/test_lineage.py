"""A family of rounds as lines of text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.compare.lineage import all_changes_at_once, families
from engine.files.paths import Workspace
from engine.spec.round import Result, Round, Status
from engine.store.round_store import RoundStore
from tests.support.rounds import make_round, make_spec
from tui.views.lineage import fill, lineage_lines

BASED = Result(perplexity=3.0, base_perplexity=6.0)


def told(rounds: list[Round], width: int | None = 78) -> list[str]:
    """All families' lines as they stand on the screen."""
    return [
        "".join(text for text, _ in line.parts)
        for family in families(rounds)
        for line in lineage_lines(family, width, all_changes_at_once(family, rounds))
    ]


def test_reference_rounds_are_a_story_that_one_small_screen_holds(reference_workspace: Workspace) -> None:
    lines = told(RoundStore(reference_workspace).rounds())
    assert lines[:9] == [
        "● 1  tinyllama-alpaca                                          perplexity 4.79",
        "│ learning_rate 2e-4, per_device_train_batch_size 4,",
        "│ gradient_accumulation_steps 8, num_train_epochs 3, warmup_steps 100",
        "│ First round, on a Tesla T4 (15 GB, Python 3.11): the usual starting values.",
        "● 2  tinyllama-alpaca  2 changed at once      perplexity 4.79 → 3.16 ★ -34.0 %",
        "│ learning_rate 2e-4 → 5e-5, per_device_train_batch_size 4 → 8,",
        "│ gradient_accumulation_steps 8 → 4, num_train_epochs 3 → 4",
        "│ The GPU sat half idle, so the batch is doubled and accumulation halved.",
        "│ Nothing was overfitting yet: a lower learning rate and one more epoch.",
    ]
    assert len(lines) <= 22


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["● 2  name  2 changed at once, 1 round missing  perplexity 3.32 → 3.32 +0.0 %"]),
        (76, ["● 2  name  2 changed at once, 1 round missing  perplexity 3.32 → 3.32 +0.0 %"]),
        (75, [f"● 2  name  2 changed at once{' ' * 18}perplexity 3.32 → 3.32 +0.0 %"]),
        (59, ["● 2  name  2 changed at once  perplexity 3.32 → 3.32 +0.0 %"]),
        (58, [f"● 2  name  2 at once{' ' * 9}perplexity 3.32 → 3.32 +0.0 %"]),
        (51, ["● 2  name  2 at once  perplexity 3.32 → 3.32 +0.0 %"]),
        (50, [f"● 2  name{' ' * 12}perplexity 3.32 → 3.32 +0.0 %", "  2 changed at once, 1 round missing"]),
    ],
)
def test_mark_of_changes_at_once_is_as_long_as_there_is_room(width: int | None, lines: list[str]) -> None:
    changed = make_spec(lora__r=16, train__num_train_epochs=1)
    rounds = [make_round(1), make_round(2, parent=1, name="name", spec=changed)]
    everything = told(rounds, width)
    start = next(place for place, line in enumerate(everything) if line.startswith("● 2"))
    assert everything[start : start + len(lines)] == lines
    assert len([line for line in everything if "at once" in line]) == 1


def test_mark_names_the_rounds_between_once_they_exist() -> None:
    specs = [make_spec(), make_spec(lora__r=16, train__num_train_epochs=1), make_spec(train__num_train_epochs=1)]
    rounds = [make_round(place, parent=1 if place > 1 else None, spec=spec) for place, spec in enumerate(specs, 1)]
    marked = [line for line in told(rounds, None) if "at once" in line]
    assert marked == ["├─● 2    2 changed at once, round 3 between  perplexity 3.32 → 3.32 +0.0 %"]


def test_branches_stand_beside_the_line_they_left() -> None:
    parents = {1: None, 2: 1, 3: 2, 4: 1, 5: 2}
    rounds = [make_round(number, parent=parent, note=f"why {number}") for number, parent in parents.items()]
    lines = told(rounds, None)
    assert [line for line in lines if "same spec" not in line] == [
        "● 1    perplexity 3.32 ★",
        "│ why 1",
        "├─● 4    perplexity 3.32 → 3.32 +0.0 %",
        "│   why 4",
        "● 2    perplexity 3.32 → 3.32 +0.0 %",
        "│ why 2",
        "├─● 3    perplexity 3.32 → 3.32 +0.0 %",
        "│   why 3",
        "● 5    perplexity 3.32 → 3.32 +0.0 %",
        "  why 5",
    ]


@pytest.mark.parametrize(
    ("parent", "child", "words"),
    [
        (
            {},
            {"result": Result(perplexity=3.0, base_perplexity=6.0)},
            "perplexity 3.32 → 3.00 ★ -9.6 %, base 6.00 -50.0 %",
        ),
        ({}, {"spec": make_spec(data__seed=1)}, "perplexity 3.32 on other held-out tokens"),
        ({"result": Result()}, {}, "perplexity 3.32"),
        ({}, {"status": Status.QUEUED}, "queued"),
        ({}, {"status": Status.FAILED, "message": "out of memory"}, "failed"),
        ({}, {"status": Status.STOPPED, "result": Result(perplexity=4.0)}, "stopped  perplexity 3.32 → 4.00 +20.5 %"),
        ({}, {"result": Result(nonfinite={"perplexity": "nan"})}, "perplexity not a number"),
        ({}, {"result": Result()}, "no result"),
    ],
)
def test_result_tells_how_it_moved(parent: dict[str, Any], child: dict[str, Any], words: str) -> None:
    first = make_round(1, name="a", **parent)
    lines = told([first, make_round(2, name="b", parent=1, **child)], None)
    (head,) = (line for line in lines if line.startswith("● 2"))
    assert head == f"● 2  b  {words}"
    assert "message" not in child or lines[-1] == f"  {child['message']}"


def test_round_that_is_gone_keeps_those_that_came_from_it_together() -> None:
    lines = told([make_round(4, parent=2), make_round(5, parent=2)], None)
    assert lines == ["○ 2  deleted", "├─● 4    perplexity 3.32 ★", "● 5    perplexity 3.32"]


def test_circle_is_told() -> None:
    lines = told([make_round(1, parent=2), make_round(2, parent=1)], None)
    assert "│ its parent is round 2, which was made from this round" in lines


def test_long_note_is_cut() -> None:
    lines = told([make_round(1, note="word " * 1000)])
    assert len(lines) == 9 and lines[-1].endswith("…")


TEXT = st.text(st.characters(), max_size=80)


@given(TEXT, TEXT, st.integers(72, 120))
def test_no_line_is_wider_than_the_screen(name: str, note: str, width: int) -> None:
    rounds = [
        make_round(number, parent=number // 2 or None, name=name, note=note, message=note, spec=spec)
        for number, spec in zip(range(1, 9), [make_spec(), make_spec(lora__r=16, lora__lora_alpha=16)] * 4, strict=True)
    ]
    assert max(map(cell_len, told(rounds, width))) <= width


@given(st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=30)), st.integers(2, 40))
def test_filled_lines_hold_every_word_in_order(words: list[str], room: int) -> None:
    lines = fill(words, room)
    assert all(cell_len(line) <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join("".join(words).split())
    for before, after in pairwise(lines):
        first = after.split(" ")[0]
        assert first not in words or cell_len(before) + 1 + cell_len(first) > room or before.split(" ")[-1] not in words
