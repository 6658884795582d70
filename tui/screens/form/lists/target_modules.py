"""The modules of the base model, or the parameters that hold its experts, as a list to tick off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.spec.fields import format_value
from tui.screens.dialogs.option_dialog import OptionDialog
from tui.terminal.console import clean_line

ALL_LINEAR = "all-linear"


class TargetModulesScreen(OptionDialog[str | None]):
    """Dismissed with the text for `lora.target_modules` or `lora.target_parameters`, or None.

    `counts` are the names to choose from, with the number of each in the model where it is known. A chosen name that
    the model lacks stays in the list until it is unticked and taken.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,x", "tick", "Tick", tooltip="Tick the module, or untick it", id="modules.tick"),
        Binding("enter", "accept", "Take", tooltip="Use the ticked modules", priority=True, id="modules.accept"),
        Binding("escape", "cancel", "Back", tooltip="Leave the field as it was", id="modules.cancel"),
        Binding("j", "move(1)", "Down", show=False, tooltip="To the next module", id="modules.down"),
        Binding("k", "move(-1)", "Up", show=False, tooltip="To the module before", id="modules.up"),
    ]

    def __init__(self, title: str, counts: Mapping[str, int | None], chosen: str | Sequence[str]) -> None:
        super().__init__()
        self._title = title
        self._counts = counts
        self._chosen = {chosen} if isinstance(chosen, str) else set(chosen)
        self._alone = {ALL_LINEAR, *(self._chosen if isinstance(chosen, str) else ())}  # no names beside these
        self._names = [*self._counts, *sorted(self._chosen - set(self._counts))]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            yield OptionList(*(Option(self._describe(name), id=str(i)) for i, name in enumerate(self._names)))
            yield Static("space tick · enter take · esc back", classes="hint", markup=False)

    def _describe(self, name: str) -> Content:
        mark = "[x]" if name in self._chosen else "[ ]"
        count = self._counts.get(name)
        note = f"{count}×" if count is not None else ""
        if name == ALL_LINEAR:
            note = "every linear layer but the output head"
        elif name in self._alone:
            note = "a regular expression"
        elif name not in self._counts:
            note = "not in this model"
        shown = clean_line(name)
        gap = " " * (2 + max(cell_len(clean_line(each)) for each in self._names) - cell_len(shown))
        return Content.assemble(f"{mark} ", (shown, "bold"), gap, note)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tick the clicked module; the keys have their own actions."""
        self.action_tick()

    def action_tick(self) -> None:
        """Tick or untick a module; `all-linear` and a regular expression untick all others, and are unticked by any."""
        options = self.query_one(OptionList)
        if options.highlighted is None:
            return
        name = self._names[options.highlighted]
        if name in self._chosen:
            self._chosen.discard(name)
        elif name in self._alone:
            self._chosen = {name}
        else:
            self._chosen = (self._chosen - self._alone) | {name}
        for index, each in enumerate(self._names):
            options.replace_option_prompt_at_index(index, self._describe(each))

    def action_accept(self) -> None:
        chosen = [name for name in self._names if name in self._chosen]
        self.dismiss(format_value(tuple(chosen)))
