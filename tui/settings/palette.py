"""The command palette: it finds the actions of the screen below it, and the themes, by typing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.types import IgnoreReturnCallbackType

from tui.settings.bindings import actions_on
from tui.settings.themes import THEMES

NOT_LISTED = frozenset({"app.palette"})
THEME_TEXT = "Change the colours"


class ActionProvider(Provider):
    """Offer the actions that can be done now, not those that the screen hides or refuses."""

    def _commands(self) -> Iterator[tuple[str, str, str, IgnoreReturnCallbackType]]:
        """Yield name, keys, explanation and the function to call."""
        app: Any = self.app
        for action in actions_on(self.screen):
            if action.enabled and action.binding.id not in NOT_LISTED:
                run = partial(app.run_action, action.binding.action, action.node)
                yield action.binding.description, action.shown_keys(app), action.explained, run
        for theme in THEMES:
            yield f"Theme {theme.name}", "", THEME_TEXT, partial(app.choose_theme, theme.name)

    async def discover(self) -> Hits:
        for name, keys, explained, run in self._commands():
            yield DiscoveryHit(_line(Content(name), keys), run, text=name, help=explained)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, keys, explained, run in self._commands():
            score = max(matcher.match(name), 0.8 * matcher.match(explained))
            if score > 0:
                yield Hit(score, _line(matcher.highlight(name), keys), run, text=name, help=explained)


def _line(name: Content, keys: str) -> Content:
    return Content.assemble(name, "  ", (keys, "$text-muted")) if keys else name
