"""Textual's parser of what the terminal sends, for pasted text with escape characters in it."""

from __future__ import annotations

from collections.abc import Iterable

from textual._xterm_parser import XTermParser
from textual.events import Paste
from textual.message import Message

BEGINNING, END = "\x1b[200~", "\x1b[201~"  # of a bracketed paste (xterm's ctlseqs)
ESCAPE, STAND_IN = "\x1b", "\ufdd0"  # which is no character, so that no text has it


class PasteParser(XTermParser):
    """Takes a paste whole. Textual's parser reads what follows an escape character in it as keys, which do things.

    Such text comes from terminals that do not filter it (kitty, tmux), such as coloured lines of a log.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._is_pasting = False
        self._before = ""  # the end of what was fed, in which a paste may begin
        self._held_back = ""  # in which it may end

    def feed(self, data: str) -> Iterable[Message]:
        """Yield the events of `data`; an empty string ends the input."""
        text = self._without_escapes_in_pastes(data)
        if data and not text:
            return
        for event in super().feed(text):
            if isinstance(event, Paste):
                event.text = event.text.replace(STAND_IN, ESCAPE)
            yield event

    def _without_escapes_in_pastes(self, data: str) -> str:
        parts = []
        data, self._held_back = self._held_back + data, ""
        while data:
            if self._is_pasting:
                pasted, end, data = data.partition(END)
                if not end:
                    pasted, self._held_back = _split(pasted)
                parts.append(pasted.replace(ESCAPE, STAND_IN) + end)
                self._is_pasting = not end
            else:
                known = len(self._before)
                keys, beginning, data = (self._before + data).partition(BEGINNING)
                parts.append((keys + beginning)[known:])
                self._is_pasting = bool(beginning)
                self._before = "" if beginning else keys[1 - len(BEGINNING) :]
        return "".join(parts)


def _split(pasted: str) -> tuple[str, str]:
    """Split off what may be the beginning of the mark at the end of a paste."""
    size = next((size for size in range(len(END) - 1, 0, -1) if pasted.endswith(END[:size])), 0)
    return pasted[: len(pasted) - size], pasted[len(pasted) - size :]
