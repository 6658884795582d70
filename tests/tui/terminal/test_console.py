"""What an encoding lacks is spelled with what it has."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.terminal.console import CELL_BY_CELL, IN_WORDS, say, say_json


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("…", "..."), ("4×8", "4x8"), ("5e-5 → 3e-5", "5e-5 -> 3e-5"), ("┌─┬─┐", "+-+-+"), ("│┃║", "|||"),
        ("café Ångström", "cafe Angstrom"), ("e\u0301", "e"), ("½ ²", "1/2 2"), ("▁▅█", "###"), ("\u2803", "*"),
        ("日本", "??"), ("😀", "?"), ("\udcff", "?"), ("“a” – ‘b’", "\"a\" - 'b'"),
    ],
)  # fmt: skip
def test_text_is_spelled_in_ascii(text: str, ascii_text: str) -> None:
    assert text.encode("ascii", IN_WORDS).decode() == ascii_text


def test_what_an_encoding_has_stays() -> None:
    assert "é×…".encode("iso-8859-1", IN_WORDS) == b"\xe9\xd7..."


@given(st.text())
def test_any_text_can_be_written_in_any_encoding(text: str) -> None:
    for encoding in ("ascii", "iso-8859-1", "utf-8", "koi8-r", "cp437", "shift_jis"):
        for handler in (IN_WORDS, CELL_BY_CELL):
            text.encode(encoding, handler).decode(encoding)


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Cn", "Mn", "Me", "Zl", "Zp"))))
def test_on_a_screen_every_character_keeps_its_cells(text: str) -> None:
    for character in text:
        shown = character.encode("ascii", CELL_BY_CELL).decode()
        assert cell_len(shown) == cell_len(character), unicodedata.name(character, "")


def test_json_with_letters_is_escaped_only_where_it_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, written in (("ascii", b'{"a": "\\u00e9\\ud83d\\ude00"}\n'), ("utf-8", '{"a": "é😀"}\n'.encode())):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=IN_WORDS)
        monkeypatch.setattr(sys, "stdout", stream)
        say_json('{"a": "é😀"}')
        say("", end="")
        stream.flush()
        assert stream.buffer.getvalue() == written
