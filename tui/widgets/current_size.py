"""A screen that is laid out only for the size that the terminal has now."""

from __future__ import annotations

from typing import Any

from textual.events import Resize
from textual.screen import Screen


class CurrentSize(Screen[Any]):
    """The base of every screen: one that Textual would change between two sizes forever, if it heard of both at once.

    Textual answers a resize with another event of the same size. In a list of bases, `ModalScreen` comes before this
    class, as only the first base counts for CSS; both come before `Screen`.
    """

    async def _on_resize(self, event: Resize) -> None:
        """Keep the handler of the class below, which runs next, from a size that the terminal no longer has."""
        if event.size != self.app.size:
            event.prevent_default()
