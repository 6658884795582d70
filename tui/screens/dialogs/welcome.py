"""The first screen of a workspace that is none yet: what loratui is, what it makes and where, and which keys start."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.terminal.console import clean_line

WHAT = (
    "loratui fine-tunes language models with LoRA on this machine: fill in a form, start, watch the loss, and compare "
    "the rounds in one table. What trains goes on when you leave or the connection ends."
)
MADE = (
    ("experiments.json", "the table of rounds, and its backups"),
    ("runs/", "for each round its settings, log and adapter"),
)


class WelcomeScreen(ModalScreen[bool]):
    """Dismissed with True if the person wants a workspace in `directory`; with `leftovers` there are runs already."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "answer(True)", "Make it", tooltip="Keep rounds in this directory", id="welcome.yes"),
        Binding("q,escape,n", "answer(False)", "Leave", tooltip="Leave it as it is", id="welcome.no"),
    ]
    DEFAULT_CSS = """
    WelcomeScreen { background: $background; }
    WelcomeScreen .dialog { width: 76; padding: 1 3; }
    WelcomeScreen Static { height: auto; margin-bottom: 1; }
    WelcomeScreen #welcome-keys { margin-bottom: 0; }
    """

    def __init__(self, directory: Path, leftovers: bool) -> None:
        super().__init__()
        self._directory = directory
        self._leftovers = leftovers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Welcome to loratui", classes="dialog-title", markup=False)
            yield Static(WHAT, markup=False)
            yield Static(self._places(), id="welcome-places", markup=False)
            yield Static(
                _keys(
                    ("enter", "make them, and open the table" + (" on what runs/ holds" if self._leftovers else "")),
                    ("q", "leave everything as it is"),
                ),
                markup=False,
            )
            yield Static(first_steps(), id="welcome-keys", markup=False)

    def _places(self) -> Content:
        lines = [Content.assemble("In ", (clean_line(str(self._directory)), "bold"), " it makes")]
        lines += [Content.assemble("  ", (name.ljust(18), "bold"), text) for name, text in MADE]
        return Content("\n").join(lines)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


def first_steps() -> Content:
    """The keys of a first round."""
    return _keys(
        ("n", "a new round: the preset nano needs no GPU"),
        ("Ctrl+S", "starts what the form holds"),
        ("?  :", "every key, and every action by typing its name"),
    )


def _keys(*rows: tuple[str, str]) -> Content:
    return Content("\n").join(Content.assemble((key.rjust(8), "bold $text-accent"), "  ", text) for key, text in rows)
