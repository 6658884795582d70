"""Keys that come faster than they are done with, as in one packet of a slow line.

Textual hands a key at once to the widget that has the focus. What the key is bound to is done later, when it has gone
up to the app, and what that mounts or pushes takes the focus later still: of `/lr` typed fast the letters would be keys
of the table, and a letter behind `ctrl+u` would be deleted by it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from textual.app import App, ScreenStackError
from textual.dom import DOMNode
from textual.driver import Driver
from textual.events import Event, Key, Paste

CLOSE_SECONDS = 0.02  # from one key to the next; a person's are further apart
LONGEST_SECONDS = 5.0  # that a key waits for what the one before it does: a form takes a second where others work too
LAYERS = 8  # of what one key brings about, each by the one before: a screen, its widgets, their focus


class KeyQueueApp(App[str | None]):
    """An app in which a key or a paste finds in place what the key before it did."""

    def __init__(self, driver_class: type[Driver]) -> None:
        super().__init__(driver_class)
        self._typed: deque[Event] = deque()
        self._turn: asyncio.Task[None] | None = None
        self._handed_on = 0.0

    @property
    def has_typed_ahead(self) -> bool:
        """Whether keys wait for their turn."""
        return bool(self._typed)

    async def on_event(self, event: Event) -> None:
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._typed or not self._is_settled():
            self._typed.append(event)
            if self._turn is None or self._turn.done():
                self._turn = asyncio.create_task(self._take_turns())
        else:
            await self._hand_on(event)

    async def _hand_on(self, event: Event) -> None:
        self._handed_on = monotonic()
        await super().on_event(event)

    async def _take_turns(self) -> None:
        while self._typed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled(), LONGEST_SECONDS)
            done = asyncio.Event()
            if not self.call_later(self._take_turn, done):  # the app ends
                return
            await done.wait()

    async def _take_turn(self, done: asyncio.Event) -> None:
        try:
            await self._hand_on(self._typed[0])
        finally:
            self._typed.popleft()
            done.set()

    def _is_settled(self) -> bool:
        """Whether nothing is left of the key before, as far as can be told at once."""
        return monotonic() - self._handed_on > CLOSE_SECONDS and not self._at_work()

    def _at_work(self) -> list[DOMNode]:
        """What has messages that wait."""
        with suppress(ScreenStackError):
            nodes: Iterable[DOMNode] = (self, *self.screen.walk_children(with_self=True))
            return [node for node in nodes if node.message_queue_size]
        return []

    async def _settled(self) -> None:
        """Wait until what was typed last has gone all the way up, and what it brought about is done."""
        for _ in range(LAYERS):
            before = self._way_up()
            for node in before:
                await _caught_up(node)
            at_work = self._at_work()
            for node in at_work:
                await _caught_up(node)
            if not at_work and self._way_up() == before:
                return

    def _way_up(self) -> list[DOMNode]:
        """From what has the focus to the app."""
        with suppress(ScreenStackError):
            return list((self.focused or self.screen).ancestors_with_self)
        return [self]


async def _caught_up(node: DOMNode) -> None:
    """Wait until a node has done what was asked of it so far."""
    done = asyncio.Event()
    if node.call_later(done.set):
        await done.wait()
