"""The welcome in a directory without a workspace: what loratui is, what it creates there, and the first keys."""

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
from tui.widgets.current_size import CurrentSize

INTRODUCTION = (
    "loratui fine-tunes language models with LoRA on this machine: fill in a form, start, watch the loss, and compare "
    "the rounds in one table. Training continues when you leave or the connection ends."
)
CREATED = (
    ("experiments.json", "the table of rounds, with backups"),
    ("runs/", "the settings, log and adapter of each round"),
)


class WelcomeScreen(ModalScreen[bool], CurrentSize):
    """Dismissed with True if the person wants a workspace in `directory`.

    Args:
        leftovers: True if the directory has runs already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "answer(True)", "Create", tooltip="Create a workspace in this directory", id="welcome.yes"),
        Binding("q,escape,n", "answer(False)", "Leave", tooltip="Leave without creating anything", id="welcome.no"),
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
            yield Static(INTRODUCTION, id="welcome-introduction", markup=False)
            yield Static(self._directory_text(), id="welcome-places", markup=False)
            create = "create them and open the table" + (" of the rounds in runs/" if self._leftovers else "")
            yield Static(_keys(("enter", create), ("q", "leave without creating anything")), markup=False)
            yield Static(first_steps(), id="welcome-keys", markup=False)

    def _directory_text(self) -> Content:
        lines = [Content.assemble("In ", (clean_line(str(self._directory)), "bold"), " it creates")]
        lines += [Content.assemble("  ", (name.ljust(18), "bold"), text) for name, text in CREATED]
        return Content("\n").join(lines)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


def first_steps() -> Content:
    """Return the keys for a first round, and what they do."""
    return _keys(
        ("n", "a new round: the preset nano needs no GPU"),
        ("Ctrl+S", "starts the round in the form"),
        ("?  :", "shows all keys; finds an action by its name"),
    )


def _keys(*rows: tuple[str, str]) -> Content:
    return Content("\n").join(Content.assemble((key.rjust(8), "bold $text-accent"), "  ", text) for key, text in rows)
