"""The dialog for the settings of a chat: sampling, prompt template, system prompt."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from engine.chat.conversation import ChatSettings
from engine.errors import LoratuiError
from engine.files.drafts import Drafting
from engine.spec.fields import describe_setting, format_value, parse_setting
from tui.screens.chat.input import ChatInput
from tui.terminal.console import clean_line
from tui.widgets.current_size import CurrentSize

NAMES = ChatSettings.__struct_fields__


class ChatSettingsScreen(ModalScreen[ChatSettings | None], CurrentSize):
    """Dismissed with the new settings, or with None if the person cancels; what was typed is kept in `drafting`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back", tooltip="Close without changing the settings", id="talk_settings.cancel"),
        Binding(
            "ctrl+s",
            "keep",
            "Keep",
            tooltip="Use these settings from the next message on",
            priority=True,
            id="talk_settings.keep",
        ),
        Binding(
            "ctrl+r", "reset", "Reset", show=False, id="talk_settings.reset",
            tooltip="Show the setting in use in place of what was typed",
        ),
        Binding("down", "app.focus_next", "Down", show=False, tooltip="To the next field", id="talk_settings.down"),
        Binding("up", "app.focus_previous", "Up", show=False, tooltip="To the previous field", id="talk_settings.up"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ChatSettingsScreen {
        & .dialog { width: 90; }
        & .setting { height: 1; }
        & .setting-name { width: 17; color: $text-muted; }
        & .setting Input { width: 1fr; height: 1; border: none; padding: 0 1; background: $surface; }
        & .setting Input:focus { background: $primary 40%; }
        & #setting-help { height: 3; margin-top: 1; color: $text-muted; }
        & #setting-error { height: auto; max-height: 3; color: $text-error; text-style: bold; }
    }
    """

    def __init__(self, settings: ChatSettings, drafting: Drafting) -> None:
        super().__init__()
        self._drafting = drafting
        self._settings = settings

    def compose(self) -> ComposeResult:
        drafts = self._drafting.continued
        typed = drafts[0].texts if drafts else {}
        with Vertical(classes="dialog"):
            yield Static("Chat settings", classes="dialog-title", markup=False)
            for name in NAMES:
                with Horizontal(classes="setting"):
                    yield Label(name, classes="setting-name", markup=False)
                    yield ChatInput(typed.get(name, self._stored(name)), id=f"setting-{name}")
            yield Static(id="setting-help", markup=False)
            yield Static(id="setting-error", markup=False)
            draft = f"your draft of {drafts[0].clock} · ctrl+r setting in use · " if drafts else ""
            yield Static(f"{draft}enter keep · ↑ ↓ other fields · esc cancel", classes="hint", markup=False)

    def _stored(self, name: str) -> str:
        return format_value(getattr(self._settings, name))

    @on(Input.Changed)
    def _keep(self) -> None:
        texts = {name: self.query_one(f"#setting-{name}", ChatInput).text for name in NAMES}
        self._drafting.keep({name: text for name, text in texts.items() if text != self._stored(name)})

    def action_reset(self) -> None:
        focused = self.focused
        if isinstance(focused, ChatInput):
            focused.put(self._stored((focused.id or "").removeprefix("setting-")))

    @on(DescendantFocus)
    def _show_help(self) -> None:
        """Say what the field with the focus is for."""
        focused = self.focused
        name = (focused.id or "").removeprefix("setting-") if focused is not None else ""
        if name in NAMES:
            field = describe_setting(ChatSettings, name)
            takes = f"\ntakes {field.allowed}" if name != "system" else "\nctrl+j is a line break"
            self.query_one("#setting-help", Static).update(Content(field.description + takes))

    @on(Input.Submitted)
    def action_keep(self) -> None:
        try:
            values = {name: self._read(name) for name in NAMES}
        except LoratuiError as error:
            self.query_one("#setting-error", Static).update(Content(f"✗ {clean_line(error.message)}"))
            return
        self._drafting.drop()
        self.dismiss(msgspec.structs.replace(self._settings, **values))

    def _read(self, name: str) -> object:
        """Return the value of a field; the old one, as it was, if nothing was typed."""
        field = self.query_one(f"#setting-{name}", ChatInput)
        if field.text == self._stored(name):
            return getattr(self._settings, name)
        return parse_setting(ChatSettings, name, field.text)

    def action_cancel(self) -> None:
        self.dismiss(None)
