"""A screen that is laid out only for the size that the terminal has now."""

from __future__ import annotations

from typing import Any

from textual.events import Resize
from textual.screen import Screen


class CurrentSize(Screen[Any]):
    """The base of every screen, before Textual's, which answers a resize with another event of the same size.

    With events of two sizes in its queue, a screen would change from one to the other forever.
    """

    async def _on_resize(self, event: Resize) -> None:
        """Keep the handler of the class below, which runs next, from a size that the terminal no longer has."""
        if event.size != self.app.size:
            event.prevent_default()
