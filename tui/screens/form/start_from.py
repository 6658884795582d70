"""The choice of the start of a new round: a preset, or the selected round."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.spec.presets import broken_presets, presets
from engine.spec.round import Round
from engine.spec.schema import Spec
from tui.terminal.console import clean_line


class Origin(Struct, frozen=True):
    """The start of a new round; `parent` if it is a clone, `name` for its name field."""

    spec: Spec
    name: str
    parent: Round | None = None


class StartFromScreen(ModalScreen[Origin | None]):
    """Dismissed with the origin, or None if the person went back."""

    DEFAULT_CSS = """
    StartFromScreen .broken-preset { height: auto; color: $text-warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Back", tooltip="Go back without a new round", id="start.cancel"),
        Binding("j", "move('cursor_down')", "Down", show=False, tooltip="To the next entry", id="start.down"),
        Binding("k", "move('cursor_up')", "Up", show=False, tooltip="To the entry before", id="start.up"),
    ]

    def __init__(self, selected: Round | None) -> None:
        super().__init__()
        self._origins: dict[str, Origin] = {}
        if selected is not None:
            self._origins[f"clone of round {selected.number}"] = Origin(selected.spec, selected.name, selected)
        self._presets = presets()
        for name, preset in self._presets.items():
            self._origins[name] = Origin(preset.spec, name)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Start the new round from", classes="dialog-title", markup=False)
            yield OptionList(*(Option(self._describe(name), id=str(i)) for i, name in enumerate(self._origins)))
            for sentence in broken_presets():
                yield Static(Content(f"! {clean_line(sentence)}"), classes="broken-preset", markup=False)
            yield Static("enter choose · esc back", classes="hint", markup=False)

    def _describe(self, name: str) -> Content:
        origin = self._origins[name]
        if origin.parent is None:
            description = clean_line(self._presets[name].description)
            return Content.assemble((clean_line(name), "bold"), "\n", description)
        note = clean_line(origin.parent.note)
        title = f"{name}  {clean_line(origin.parent.name)}".rstrip()
        return Content.assemble((title, "bold"), "\n", note or "with all its settings")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(list(self._origins.values())[event.option_index])

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_move(self, action: str) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if action == "cursor_down" else options.action_cursor_up()
