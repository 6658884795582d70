"""A dialog to choose one of several options, each with a title and, if it has a description, a line below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.screens.dialogs.option_dialog import OptionDialog
from tui.terminal.console import clean_line

MAX_CHARACTERS = 200


class ChooseScreen(OptionDialog[int | None]):
    """Dismissed with the index of the chosen option, or None; `options` are pairs of a title and a description."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Back", tooltip="Close without choosing", id="choose.cancel"),
        Binding("j", "move(1)", "Down", show=False, tooltip="To the next option", id="choose.down"),
        Binding("k", "move(-1)", "Up", show=False, tooltip="To the previous option", id="choose.up"),
    ]

    def __init__(self, question: str, options: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._options = options

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean_line(self._question)), classes="dialog-title", markup=False)
            yield OptionList(*(Option(_describe(*option)) for option in self._options))
            yield Static("enter choose · esc cancel", classes="hint", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index)


def _describe(title: str, description: str) -> Content:
    bold_title = (clean_line(title[:MAX_CHARACTERS]), "bold")
    if not description:
        return Content.assemble(bold_title)
    return Content.assemble(bold_title, "\n", clean_line(description[:MAX_CHARACTERS]))
