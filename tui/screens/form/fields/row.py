"""A field of the form as a line: its name, its value, and what is to be said of it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.events import Paste
from textual.widget import Widget

from engine.spec.fields import SpecField
from engine.spec.overrides import is_set_line
from tui.screens.form.fields.entry import Entry
from tui.terminal.console import clean_line
from tui.widgets.choice import Choice
from tui.widgets.live_text import LiveText
from tui.widgets.sanitized_input import SanitizedInput

MODULES_KEY, PARAMETERS_KEY, ADAPTER_KEY = "lora.target_modules", "lora.target_parameters", "lora.initial_adapter"
LISTED_KEYS = (
    MODULES_KEY, PARAMETERS_KEY, ADAPTER_KEY, "data.name", "data.split", "data.eval_name", "data.eval_split",
)  # fmt: skip
MANY_WORDS = 6  # from which a choice has a list, as to turn through them takes long
NAME_WIDTH, WAS_WIDTH = 29, 22  # cells on both sides of a field, as in app.tcss


def has_list(field: SpecField) -> bool:
    """Return whether enter lists what the field may hold."""
    return field.key in LISTED_KEYS or len(field.choices) >= MANY_WORDS


class SettingInput(SanitizedInput):
    """The field of a hyperparameter."""

    def on_paste(self, event: Paste) -> None:
        """Leave a line of settings to the form, which fills in the fields that it names."""
        if is_set_line(event.text):
            event.prevent_default()


class FieldRow(Widget):
    """One field: its name, its value, the value before, and below it why it is wrong, if it is.

    It draws the texts on both sides of the field itself: with a widget for each, the layout of the form would take
    three times as long, at every key. A value other than the one that the form opened with is marked as changed.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(classes="field")
        self.entry = entry
        self.control = _control(entry)
        self._refusal = LiveText(classes="field-error")
        self._wants_focus = False

    def compose(self) -> ComposeResult:
        yield self.control

    def on_mount(self) -> None:
        self._mark()
        if self._wants_focus:
            self.control.focus()

    def take_focus(self) -> None:
        """Focus the field, at once or when it is there."""
        self._wants_focus = True
        if self.is_mounted:
            self.control.focus()

    def render(self) -> Content:
        name = Content.styled(self.entry.field.name, self._name_style).truncate(NAME_WIDTH, pad=True)
        room = max(0, self.content_size.width - NAME_WIDTH - WAS_WIDTH + 1)
        return Content.assemble(name, " " * room, self._beside().truncate(WAS_WIDTH - 1, ellipsis=True))

    @property
    def _name_style(self) -> str:
        if self.has_class("-invalid"):
            return "bold $text-error"
        return "bold $text-warning" if self.has_class("-changed") else "$text-muted"

    def _beside(self) -> Content:
        """Return the text to the right of the field."""
        field = self.entry.field
        if self.has_class("-changed"):
            return Content.styled(f"● was {clean_line(self.entry.original) or field.empty}", "$text-warning")
        return Content.styled("enter: choose" if has_list(field) else "", "$text-muted")

    def put(self, text: str) -> None:
        """Show `text` in the field; of a choice it must be one of the words."""
        if isinstance(self.control, Choice):
            self.control.value = text
        else:
            self.control.put(text)

    def judge(self, text: str) -> None:
        """Take `text` as the field's value, and mark the field if that is changed or wrong."""
        self.entry.take(text)
        self._mark()

    def _mark(self) -> None:
        error = self.entry.error
        self.set_class(error is not None, "-invalid")
        self.set_class(self.entry.changed, "-changed")
        if error is not None:
            self._refusal.tell(Content(f"✗ {clean_line(str(error))}"))
            if not self._refusal.is_attached:
                self.mount(self._refusal)
        self.refresh()


def _control(entry: Entry) -> Choice | SettingInput:
    name = control_id(entry.field.key)
    if entry.field.choices:
        return Choice(entry.field.choices, entry.text, id=name)
    return SettingInput(entry.text, placeholder=entry.field.empty, compact=True, id=name)


def control_id(key: str) -> str:
    """Return the id of the widget that edits a field: `lora-r` for `lora.r`."""
    return key.replace(".", "-")
