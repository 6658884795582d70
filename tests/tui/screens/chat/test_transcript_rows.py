"""A conversation in lines: nothing is lost in breaking them, none is too wide, columns where there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.chat.conversation import BASE, ChatAnswer, Exchange, Speaker
from tui.screens.chat.transcript_rows import Frame, columns_of, exchange_rows, figures, wrapped
from tui.terminal.console import clean

THREE, EIGHT = Speaker("0003-a", 3, "attention"), Speaker("0008-a", 8, "rates")


@given(st.text(alphabet=st.sampled_from("ab c\n日本é\x1b"), max_size=200), st.integers(2, 30))
def test_breaking_lines_loses_no_letter_and_keeps_to_the_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("one  two\n\n  three", ["one  two", "", "  three"]),
        ("x " + "a" * 12, ["x aaaaaa", "aaaaaa"]),
        (" aaaaaaaa", ["aaaaaaaa"]),  # the word alone fills the line
        ("", [""]),
        ("日本日本日", ["日本日本", "日"]),
    ],
)
def test_lines_are_broken_at_spaces(text: str, lines: list[str]) -> None:
    assert wrapped(text, 8) == lines


def texts(exchange: Exchange, frame: Frame) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in exchange_rows(exchange, frame)]


def test_answers_stand_side_by_side_where_there_is_room_and_beneath_each_other_else() -> None:
    exchange = Exchange(
        "hello", {"0003-a": ChatAnswer("three", 1, 1, 1.0), "0008-a": ChatAnswer("eight", refusal="it died")}
    )
    frame = Frame(90, (THREE, EIGHT), 100)
    assert texts(exchange, frame) == [
        "› hello", "",
        "round 3 attention" + " " * 26 + " │ round 8 rates",
        "three" + " " * 38 + " │ eight",
        "1 token · 1.0 tokens/s · 2 of 100 positions" + " │ ✗ it died", "",
    ]  # fmt: skip
    assert texts(exchange, frame._replace(width=60)) == [
        "› hello", "", "round 3 attention", "three", "1 token · 1.0 tokens/s · 2 of 100 positions", "",
        "round 8 rates", "eight", "✗ it died", "",
    ]  # fmt: skip
    assert [columns_of(width, number) for width, number in ((78, 2), (70, 2), (118, 3), (118, 4), (300, 1))] == [
        2, 1, 3, 1, 1,
    ]  # fmt: skip


def test_unfinished_answers_and_those_of_removed_speakers_are_shown() -> None:
    frame = Frame(60, (THREE, EIGHT), None, (THREE.key, EIGHT.key), {THREE.key: "I beg"})
    assert texts(Exchange("go"), frame) == ["› go", "", "round 3 attention", "I beg", "", "round 8 rates", "…", ""]
    with_base = Exchange("go", {THREE.key: ChatAnswer("a"), BASE: ChatAnswer("b")})
    assert "base model" in texts(with_base, Frame(60, (THREE,), None))


@pytest.mark.parametrize(
    ("answer", "positions", "words"),
    [
        (ChatAnswer("a", 30, 12, 0.5), 2048, "12 tokens · 24.0 tokens/s · 42 of 2,048 positions"),
        (ChatAnswer("a", 30, 1, 0.0), None, "1 token · 31 positions"),
        (ChatAnswer("a", 9, 1, 0.5, "cut"), 99, "1 token · 2.0 tokens/s · 10 of 99 positions · cut at max_new_tokens"),
        (
            ChatAnswer("a", 30, 12, 0.5, "cut"), 42,
            "12 tokens · 24.0 tokens/s · 42 of 42 positions · at the last position",
        ),
        (ChatAnswer("a", 30, 12, 0.5, "stopped"), 99, "12 tokens · 24.0 tokens/s · 42 of 99 positions · stopped"),
    ],
)  # fmt: skip
def test_figures_of_an_answer(answer: ChatAnswer, positions: int | None, words: str) -> None:
    assert figures(answer, positions) == words
