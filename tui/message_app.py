"""An app whose messages stand above the footer, and say why a key does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from textual.driver import Driver
from textual.events import Event, Key
from textual.notifications import Notification, Notify, SeverityLevel
from textual.screen import Screen

from tui.settings.bindings import key_of, refusal_of
from tui.terminal.key_queue import KeyQueueApp
from tui.widgets.message_line import MessageLine

LONGER_SECONDS = 10.0  # for an error, and for what happened while the person did something else


class MessageApp(KeyQueueApp):
    """An app that shows what is passed to `notify` in the `MessageLine` of the screen on which it happened.

    The next key clears a message. An error stays longer, and so does an announcement, which every screen shows: they
    go with escape or the key that hides the banner.
    """

    def __init__(self, driver_class: type[Driver]) -> None:
        super().__init__(driver_class)
        self.keymap: Mapping[str, str] = {}
        self._announced: set[str] = set()
        self._screen_of: dict[str, Screen[object]] = {}

    def set_keymap(self, keymap: Mapping[str, str]) -> None:
        super().set_keymap(keymap)
        self.keymap = keymap

    @property
    def has_messages(self) -> bool:
        """True if messages are shown."""
        return len(self._notifications) > 0

    def announce(self, text: str, severity: SeverityLevel) -> None:
        """Show a message on every screen: it is not about the one that the person looks at."""
        announcement = Notification(text, severity=severity, timeout=LONGER_SECONDS)
        self._announced.add(announcement.identity)
        self.post_message(Notify(announcement))

    def _on_notify(self, event: Notify) -> None:
        """Show a message until its time is over; overrides Textual's hook."""
        message = event.notification
        if (screen := self._screen_with_line()) is not None and message.identity not in self._announced:
            self._screen_of[message.identity] = screen
        self.set_timer(message.timeout, partial(self._unnotify, message))
        super()._on_notify(event)

    def _screen_with_line(self) -> Screen[object] | None:
        """Return the top screen, or the one below a dialog."""
        return next((screen for screen in reversed(self.screen_stack) if screen.query(MessageLine)), None)

    def _refresh_notifications(self) -> None:
        """Show the messages that are left in place of Textual's toasts; overrides its hook."""
        shown = list(self._notifications)
        self._screen_of = {
            message.identity: self._screen_of[message.identity]
            for message in shown
            if message.identity in self._screen_of
        }
        for screen in self.screen_stack if self._screen_stacks else ():
            for line in screen.query(MessageLine):
                line.show([message for message in shown if self._screen_of.get(message.identity, screen) is screen])
                screen.refresh_bindings()  # there is something to dismiss now, or nothing any more

    async def _hand_on(self, event: Event) -> None:
        if isinstance(event, Key) and self.has_messages:
            self._clear_by(event.key)
        await super()._hand_on(event)

    def _clear_by(self, key: str) -> None:
        """Clear the messages that a key clears."""
        for message in list(self._notifications):
            lasts = message.severity == "error" or message.identity in self._announced
            if key == "escape" or not lasts:
                self._unnotify(message)

    async def _check_bindings(self, key: str, priority: bool = False) -> bool:
        """Do what a key does on the screen now, or say why it does nothing; overrides Textual's hook."""
        if key == "ctrl+c" and not priority and "ctrl+c" not in ",".join(self.keymap.values()).split(","):
            self.action_help_quit()
            return True
        if await super()._check_bindings(key, priority):
            return True
        if not priority and (sentence := refusal_of(self, key)):
            self.notify(sentence, severity="warning", markup=False)
            return True
        return False

    def action_help_quit(self) -> None:
        """Copy the selected text or, if there is none, say which key leaves the app: elsewhere it is this key."""
        if text := getattr(self.focused, "selected_text", "") or self.screen.get_selected_text():
            self.copy_to_clipboard(text)
            return
        before = "" if self.focused is None or not hasattr(self.focused, "selected_text") else "outside this field, "
        self.notify(f"{before}{key_of(self.screen, 'app.quit')} leaves loratui; training goes on", markup=False)
