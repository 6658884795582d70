from __future__ import annotations

import json
import sys
import unicodedata

import msgspec
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from engine.report.export import json_text
from engine.text.sanitize import clean, clean_line, escape_json
from tui.terminal.filters import PlainLines

# Unicode's own data in another library: controls, formats, separators, surrogates, what a renderer may ignore; but not
# the format characters that are drawn.
HIDDEN = regex.compile(
    r"(?V1)[[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{DI}]--[\n\t\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]]"
)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_every_character_that_hides_or_steers_becomes_one_symbol_and_no_other_changes() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = clean(f"a{character}b")
        if HIDDEN.match(character):
            assert len(shown) == 3 and shown[1] != character and unicodedata.category(shown[1]) == "So", hex(code)
        else:
            assert shown == f"a{character}b", hex(code)


@given(ANY_TEXT)
def test_clean_text_is_clean_and_stays_as_it_is(text: str) -> None:
    shown = clean(text)
    assert not HIDDEN.search(shown)
    assert clean(shown) == shown
    assert "\n" not in clean_line(text) and clean_line(text) == clean(" ".join(text.split()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "␛[31m"),
        ("a\x7f\x00", "a␡␀"),
        ("\x9b31m", "\ufffd31m"),
        ("gnp\u202eexe", "gnp\ufffdexe"),
        ("👩\u200d🔬", "👩🔬"),
        ("❤\ufe0f", "❤"),
        ("می\u200cشود", "میشود"),
        ("क्\u200dष", "क्ष"),
        ("a\u200db", "a\ufffdb"),
        ("a\u200cb", "a\ufffdb"),
        ("x\ufe0f\ufe0e", "x\ufffd\ufffd"),
        ("❤\ufe0f\ufe0f\ufe0f", "❤\ufffd\ufffd"),
        ("e\u0301 ñ 日本 \t\n", "e\u0301 ñ 日本 \t\n"),
    ],
)
def test_symbols_stand_where_something_was_and_words_stay_words(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(ANY_TEXT.filter(lambda text: not regex.search(r"\p{Cs}", text)))
def test_json_is_harmless_and_holds_the_same(text: str) -> None:
    document = json_text({"text": text})
    assert not HIDDEN.search(document)
    assert json.loads(document) == msgspec.json.decode(document) == {"text": text}


def test_surrogate_in_json_is_escaped() -> None:
    assert escape_json('"\ud800"') == '"\\ud800"'


@given(st.lists(ANY_TEXT, max_size=4))
def test_line_keeps_the_width_of_each_piece(texts: list[str]) -> None:
    style = Style(bold=True)
    line = PlainLines().apply([Segment(text, style) for text in texts], Color(0, 0, 0))
    assert [segment.style for segment in line] == [style] * len(texts)
    for text, segment in zip(texts, line, strict=True):
        assert not HIDDEN.search(segment.text) and "\n" not in segment.text and "\t" not in segment.text
        assert cell_len(segment.text) == cell_len(text)
