from __future__ import annotations

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset.preview import BINS, Preview, Segment, bin_size, histogram_of
from engine.dataset.rows import DetectedFormat
from tui.views.preview import CUT, SUPERVISED, preview_facts, preview_text

SEGMENTS = (
    Segment("ask\x1b ", supervised=False, cut=False),
    Segment("answer\n", supervised=True, cut=False),
    Segment("too", supervised=True, cut=True),
    Segment(" long", supervised=False, cut=True),
)
SHOWN = Preview(
    format=DetectedFormat("messages", ("messages",)), rows=1200, left_out=0, warnings=(), row=1100, problem=None,
    segments=SEGMENTS, tokens=40, supervised_tokens=20, max_length=30, measured=1000, longest=2345, longer=17,
)  # fmt: skip


def test_facts_are_told() -> None:
    assert preview_facts(SHOWN).plain.splitlines() == [
        "messages rows (messages) · longest 2,345 tokens · 17 of the first 1,000 rows are longer than max_length 30",
        "row 1,100 of 1,200: 40 tokens, cut at 30, 20 supervised",
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"format": DetectedFormat("text", ("text",), ("id\x1b", "score")), "longer": 0}, [
            "text rows (text), every token supervised · not used: id␛, score · longest 2,345 tokens"]),
        ({"longer": 0}, ["messages rows (messages) · longest 2,345 tokens"]),
        ({"measured": 1200, "longer": 1}, [
            "messages rows (messages) · longest 2,345 tokens · 1 of 1,200 rows is longer than max_length 30"]),
        ({"tokens": 30}, ["row 1,100 of 1,200: 30 tokens, 20 supervised"]),
        ({"warnings": ("one\x1b[m", "two")}, ["! one␛[m", "! two"]),
        ({"problem": "its text is empty", "segments": ()}, ["✗ row 1,100 is left out: its text is empty"]),
    ],
)  # fmt: skip
def test_facts_change_with_what_there_is_to_tell(changes: dict[str, object], lines: list[str]) -> None:
    told = preview_facts(msgspec.structs.replace(SHOWN, **changes)).plain.splitlines()
    assert [line for line in told if line in lines] == lines


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"shortest": 9, "longest": 12, "histogram": (1, 0, 8, 4)}, "lengths 9 ▁ █▄ 12 tokens"),
        ({"shortest": 9, "longest": 2345, "histogram": (800, 1)}, "lengths 9 █▁ 2,345 tokens, a block for each 98"),
    ],
)
def test_lengths_are_drawn(changes: dict[str, object], line: str) -> None:
    assert preview_facts(msgspec.structs.replace(SHOWN, **changes)).plain.splitlines()[1] == line


@given(st.lists(st.integers(1, 10_000), min_size=1))
def test_histogram_counts_each_length_once(lengths: list[int]) -> None:
    counts, size = histogram_of(lengths), bin_size(min(lengths), max(lengths))
    assert len(counts) <= BINS
    edges = [min(lengths) + size * index for index in range(len(counts) + 1)]
    assert counts == tuple(numpy.histogram(lengths, edges)[0])


def test_text_is_marked_by_colour_or_by_signs() -> None:
    coloured, signed = preview_text(SHOWN), preview_text(SHOWN, ("<", ">"))
    assert coloured.plain == "ask␛ answer\n✂too long"
    assert signed.plain == "ask␛ <answer\n>✂too long"
    styles = {coloured.plain[span.start : span.end]: span.style for span in coloured.spans}
    assert styles == {"answer\n": SUPERVISED, "✂": "bold red", "too": CUT, " long": CUT}
