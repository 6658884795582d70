"""What a terminal sends for a paste becomes that paste, whatever is in it, and nothing of it becomes a key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from textual.events import Key, Paste

from tui.terminal.paste_parser import BEGINNING, END, PasteParser

texts = st.text(st.sampled_from("ab[20~;1m\x1b\r\n"), max_size=60).filter(lambda text: END not in text + END[:-1])


def events_of(sent: str, sizes: list[int]) -> list[str]:
    """The pastes and keys that the parser makes of what is sent in pieces of these sizes, and then the rest."""
    parser, events = PasteParser(), []
    for size in (*sizes, len(sent)):
        if piece := sent[:size]:
            events += list(parser.feed(piece))
        sent = sent[size:]
    return [
        f"paste {event.text}" if isinstance(event, Paste) else event.key
        for event in events
        if isinstance(event, Paste | Key)
    ]


@given(text=texts, sizes=st.lists(st.integers(1, 12), max_size=12))
def test_paste_arrives_whole_however_it_is_split(text: str, sizes: list[int]) -> None:
    assert events_of(f"x{BEGINNING}{text}{END}d", sizes) == ["x", f"paste {text}", "d"]


def test_two_pastes_and_keys_between() -> None:
    sent = f"{BEGINNING}\x1b[31mred\x1b[0m{END}\x1b[A{BEGINNING}\x1bd{END}q"
    assert events_of(sent, []) == ["paste \x1b[31mred\x1b[0m", "up", "paste \x1bd", "q"]
