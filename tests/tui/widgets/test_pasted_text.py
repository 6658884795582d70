"""What a field takes of a pasted text."""

from __future__ import annotations

import pytest

from tui.widgets.pasted_text import MAX_CHARACTERS, PasteRefused, read_paste


@pytest.mark.parametrize(
    ("pasted", "one_line", "several_lines"),
    [
        ("/data/rows.jsonl\n", "/data/rows.jsonl", "/data/rows.jsonl"),
        (" indented", " indented", " indented"),
        ("one\r\n  two\rthree\n\n", "one two three", "one\n  two\nthree"),
        ("a\n\n\nb", "a b", "a\n\n\nb"),
        ("a\tb", "a b", "a\tb"),
        ("نمی‌شود 👩‍🚀", "نمی‌شود 👩‍🚀", "نمی‌شود 👩‍🚀"),
        ("a\u202eb\u200bc", "a\ufffdb\ufffdc", "a\ufffdb\ufffdc"),
        ("", "", ""),
    ],
)
def test_paste_arrives_whole(pasted: str, one_line: str, several_lines: str) -> None:
    assert read_paste(pasted, multiline=False)[0] == one_line
    assert read_paste(pasted, multiline=True)[0] == several_lines


@pytest.mark.parametrize(("pasted", "word"), [("a\nb\nc\n", "3 pasted lines"), ("a\u202eb", "invisible")])
def test_change_of_a_paste_is_remarked_on(pasted: str, word: str) -> None:
    assert word in read_paste(pasted, multiline=False)[1]


@pytest.mark.parametrize("pasted", ["a\x00", "\x1b[31m", "\x9b31m", "\x7f", "x" * (MAX_CHARACTERS + 1)])
@pytest.mark.parametrize("multiline", [False, True])
def test_paste_with_control_characters_or_too_long_is_refused(pasted: str, multiline: bool) -> None:
    with pytest.raises(PasteRefused, match="nothing was pasted"):
        read_paste(pasted, multiline=multiline)
