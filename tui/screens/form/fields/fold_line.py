"""The line at the end of a section that opens the less usual fields, and folds them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class FoldLine(Widget, can_focus=True):
    """Show `▸ 8 more: bias, use_dora, ...`; the fields of these `names` come below it while `is_open`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,space", "turn(True)", "Open", show=False, tooltip="Show the other fields", id="fold.open"),
        Binding("left,h", "turn(False)", "Fold", show=False, tooltip="Fold the other fields away", id="fold.close"),
    ]
    DEFAULT_CSS = """
    FoldLine { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    FoldLine:focus { background: $primary; color: $text; }
    """
    names: reactive[tuple[str, ...]] = reactive(())
    is_open: reactive[bool] = reactive(False)

    class Turned(Message):
        """The person wants the fields to be open, or folded."""

        def __init__(self, line: FoldLine, is_open: bool) -> None:
            super().__init__()
            self.line = line
            self.is_open = is_open

        @property
        def control(self) -> FoldLine:
            return self.line

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.set_reactive(FoldLine.names, tuple(names))
        self.display = bool(names)

    def watch_names(self) -> None:
        self.display = bool(self.names)

    def render(self) -> Content:
        more = f"{len(self.names)} more"
        return Content(f"▾ {more}" if self.is_open else f"▸ {more}: {', '.join(self.names)}")

    @property
    def explanation(self) -> Content:
        """The names of the fields below the line, and how to see them or not."""
        title, hint = f"{len(self.names)} more fields", "enter folds them" if self.is_open else "enter shows them"
        return Content.assemble((title, "bold"), f"  {', '.join(self.names)}\n", (hint, "$text-muted"))

    def action_turn(self, is_open: bool) -> None:
        if is_open != self.is_open:
            self.post_message(self.Turned(self, is_open))

    def toggle(self) -> None:
        self.action_turn(not self.is_open)

    def on_click(self) -> None:
        self.toggle()
