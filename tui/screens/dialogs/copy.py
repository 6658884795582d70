"""Choosing what to copy to the clipboard of the terminal, which works over SSH too (OSC 52)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.files.paths import Workspace
from engine.report.export import to_markdown
from engine.spec.fields import build_spec
from engine.spec.overrides import set_line
from engine.spec.presets import presets
from engine.spec.round import Round
from engine.spec.schema import Spec
from tui.screens.dialogs.option_dialog import OptionDialog
from tui.terminal.console import clean_line


class Copy(Struct, frozen=True):
    """A text to copy; `title` says what it is."""

    title: str
    text: str


def copies_of(round_: Round, rounds: Sequence[Round], in_table: Sequence[Round], workspace: Workspace) -> list[Copy]:
    """Return what can be copied of `round_`, one of `rounds`, and a table of the rounds `in_table`.

    A path is offered only if it exists: a round that waits has no adapter, and an imported one no directory.
    """
    origin, base = _origin(round_, rounds)
    adapter = round_.result.adapter_dir
    paths = {
        "path of the run directory": workspace.run_dir(round_.id).path,
        "path of the adapter": workspace.root / adapter if adapter else None,
    }
    copies = [
        *(Copy(title, str(path)) for title, path in paths.items() if path is not None and path.is_dir()),
        Copy(f"--set line against {origin}", set_line(round_.spec, base)),
        Copy(f"table of {len(in_table)} round{'s' if len(in_table) != 1 else ''} as Markdown", to_markdown(in_table)),
    ]
    return [copy for copy in copies if copy.text]


def _origin(round_: Round, rounds: Sequence[Round]) -> tuple[str, Spec]:
    """Return the name and spec of what the round came from: its parent, the preset of its name, or the defaults."""
    parent = next((other for other in rounds if other.number == round_.parent), None)
    if parent is not None:
        return f"round {parent.number}", parent.spec
    if (preset := presets().get(round_.name)) is not None:
        return f"preset {round_.name}", preset.spec
    return "the defaults", build_spec({"model.path": "-", "data.path": "-"})


class CopyScreen(OptionDialog[Copy | None]):
    """Dismissed with the chosen text, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Back", tooltip="Close without copying", id="copy.cancel"),
        Binding("j", "move(1)", "Down", show=False, tooltip="To the next text", id="copy.down"),
        Binding("k", "move(-1)", "Up", show=False, tooltip="To the previous text", id="copy.up"),
    ]

    def __init__(self, copies: Sequence[Copy]) -> None:
        super().__init__()
        self._copies = copies

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Copy", classes="dialog-title", markup=False)
            yield OptionList(*(Option(self._describe(copy)) for copy in self._copies))
            yield Static("enter copy · esc cancel", classes="hint", markup=False)

    def _describe(self, copy: Copy) -> Content:
        first = clean_line(copy.text[:1000].strip().partition("\n")[0])
        return Content.assemble((clean_line(copy.title), "bold"), "\n", first)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._copies[event.option_index])
