from __future__ import annotations

import msgspec
import pytest

from engine.dataset.preview import Preview, Segment
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


def test_text_is_marked_by_colour_or_by_signs() -> None:
    coloured, signed = preview_text(SHOWN), preview_text(SHOWN, ("<", ">"))
    assert coloured.plain == "ask␛ answer\n✂too long"
    assert signed.plain == "ask␛ <answer\n>✂too long"
    styles = {coloured.plain[span.start : span.end]: span.style for span in coloured.spans}
    assert styles == {"answer\n": SUPERVISED, "✂": "bold red", "too": CUT, " long": CUT}
