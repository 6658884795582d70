"""Short messages above the footer, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.notifications import Notification, SeverityLevel
from textual.widgets import Static

from tui.terminal.console import clean_line

LINES = 4
SIGNS: dict[SeverityLevel, tuple[str, str]] = {
    "information": ("·", "$text-accent"), "warning": ("!", "bold $text-warning"), "error": ("✗", "bold $text-error"),
}  # fmt: skip


class MessageLine(Static):
    """The messages that are shown now, wrapped to a few lines; it is hidden while there are none."""

    DEFAULT_CSS = """
    MessageLine {
        dock: bottom; margin-bottom: 1; height: auto; padding: 0 1; background: $panel; display: none;
        &.-shown { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="message-line", markup=False)

    def on_mount(self) -> None:
        self.app._refresh_notifications()  # an announcement may be older than this screen

    def show(self, messages: Sequence[Notification]) -> None:
        """Show the latest of the messages, as many as there are lines."""
        latest = messages[-LINES:]
        room = (self.app.size.width - 4) * (LINES // max(1, len(latest)))
        lines = []
        for message in latest:
            sign, style = SIGNS[message.severity]
            lines.append(Content.styled(f"{sign} {shortened(clean_line(message.message), room)}", style))
        self.update(Content("\n").join(lines))
        self.set_class(bool(latest), "-shown")


def shortened(text: str, room: int) -> str:
    """Return `text` in at most `room` cells; what is cut is in its middle, as the end of a sentence says why."""
    if cell_len(text) <= room:
        return text
    half = max(0, room // 2 - 2)
    tail = text[-half:]
    while cell_len(tail) > half:
        tail = tail[1:]
    return f"{set_cell_size(text, half).rstrip()} … {tail.lstrip()}"
