"""A queue for keys that come faster than the app processes them, such as several in one packet.

Textual sends a key at once to the widget that has the focus. The key's action runs later, when the key has reached the
app, and the widgets or screens that it opens get the focus later still. Without a queue, the letters of `/lr` typed
fast would be keys of the table, and `ctrl+u` would delete a letter typed after it.
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

CLOSE_SECONDS = 0.02  # between two keys; a person types slower
LONGEST_SECONDS = 5.0  # that a key waits for the one before it: on a busy machine a form takes a second to open
LAYERS = 8  # effects of one key that cause each other: a screen, its widgets, their focus


class KeyQueueApp(App[str | None]):
    """An app in which each key or paste waits until the effects of the one before are complete."""

    def __init__(self, driver_class: type[Driver]) -> None:
        super().__init__(driver_class)
        self._typed: deque[Event] = deque()
        self._turn: asyncio.Task[None] | None = None
        self._handed_on = 0.0

    @property
    def has_typed_ahead(self) -> bool:
        """True if keys wait for their turn."""
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
        """Return True if the key before seems complete: some time has passed, and no messages wait."""
        return monotonic() - self._handed_on > CLOSE_SECONDS and not self._at_work()

    def _at_work(self) -> list[DOMNode]:
        """Return the nodes that have waiting messages."""
        with suppress(ScreenStackError):
            nodes: Iterable[DOMNode] = (self, *self.screen.walk_children(with_self=True))
            return [node for node in nodes if node.message_queue_size]
        return []

    async def _settled(self) -> None:
        """Wait until the last key has reached the app and its effects are complete."""
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
        """Return the nodes that a key passes, from the focused one to the app."""
        with suppress(ScreenStackError):
            return list((self.focused or self.screen).ancestors_with_self)
        return [self]


async def _caught_up(node: DOMNode) -> None:
    """Wait until a node has processed the messages it has now."""
    done = asyncio.Event()
    if node.call_later(done.set):
        await done.wait()
