"""The command palette as a screen."""

from __future__ import annotations

from textual.command import CommandPalette

from tui.settings.palette import ActionProvider
from tui.widgets.current_size import CurrentSize


class Palette(CommandPalette, CurrentSize):
    """Finds the actions of the screen below it by typing."""

    def __init__(self) -> None:
        super().__init__(providers=[ActionProvider], placeholder="What do you want to do?")
