"""Every hyperparameter of a spec as a line to fill in, checked while the person types."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus, Paste
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label

from engine.errors import SpecError
from engine.spec.fields import SpecField, format_value, parse_value, spec_fields
from engine.spec.overrides import is_set_line
from tui.terminal.console import clean_line
from tui.widgets.choice import Choice
from tui.widgets.live_text import LiveText
from tui.widgets.sanitized_input import SanitizedInput

SECTION_TITLES = {
    "model": "base model", "data": "data", "lora": "adapter (peft)", "train": "training (transformers)",
    "generation": "scored answers (transformers)",
}  # fmt: skip
MODULES_KEY, PARAMETERS_KEY = "lora.target_modules", "lora.target_parameters"
LISTED_KEYS = (MODULES_KEY, PARAMETERS_KEY, "data.name", "data.split", "data.eval_name", "data.eval_split")
NAME_WIDTH, WAS_WIDTH = 29, 22  # cells on both sides of a field, as in app.tcss


class SettingInput(SanitizedInput):
    """The field of a hyperparameter."""

    def on_paste(self, event: Paste) -> None:
        """Leave a line of settings to the form, which fills in the fields that it names."""
        if is_set_line(event.text):
            event.prevent_default()


class FieldRow(Widget):
    """One field: its name, its value, the value before, and below it why it is wrong, if it is.

    It draws the texts on both sides of the field itself: with a widget for each, the layout of the form would take
    three times as long, at every key. `text` is the value it starts with; any other is marked as changed.
    """

    def __init__(self, field: SpecField, text: str) -> None:
        super().__init__(classes="field")
        self.field = field
        self._text = text
        self._original = text
        self._refusal = LiveText(classes="field-error")

    def compose(self) -> ComposeResult:
        if self.field.choices:
            yield Choice(self.field.choices, self._text, id=control_id(self.field.key))
        else:
            yield SettingInput(self._text, placeholder=self.field.empty, compact=True, id=control_id(self.field.key))

    def on_mount(self) -> None:
        self.judge(self._text)

    def render(self) -> Content:
        name = Content.styled(self.field.name, self._name_style).truncate(NAME_WIDTH, pad=True)
        room = max(0, self.content_size.width - NAME_WIDTH - WAS_WIDTH + 1)
        return Content.assemble(name, " " * room, self._beside().truncate(WAS_WIDTH - 1, ellipsis=True))

    @property
    def _name_style(self) -> str:
        if self.has_class("-invalid"):
            return "bold $text-error"
        return "bold $text-warning" if self.has_class("-changed") else "$text-muted"

    def _beside(self) -> Content:
        """Return the text to the right of the field."""
        if self.has_class("-changed"):
            return Content.styled(f"● was {clean_line(self._original) or self.field.empty}", "$text-warning")
        return Content.styled("enter: choose" if self.field.key in LISTED_KEYS else "", "$text-muted")

    def judge(self, text: str) -> None:
        """Take `text` as the field's value, and mark the field if that is changed or wrong."""
        self._text = text
        error = self.error
        self.set_class(error is not None, "-invalid")
        self.set_class(self.changed, "-changed")
        if error is not None:
            self._refusal.tell(Content(f"✗ {clean_line(str(error))}"))
            if not self._refusal.is_attached:
                self.mount(self._refusal)
        self.refresh()

    @property
    def text(self) -> str:
        """The field's text, valid or not."""
        return self._text

    @property
    def value(self) -> Any:
        """The field's value; raises SpecError if the text is not a valid one."""
        return parse_value(self.field.key, self._text)

    @property
    def error(self) -> SpecError | None:
        try:
            _ = self.value
        except SpecError as error:
            return error
        return None

    @property
    def changed(self) -> bool:
        """True if the value differs from the first one; two spellings of a number do not differ."""
        try:
            return format_value(self.value) != self._original
        except SpecError:
            return True


def control_id(key: str) -> str:
    """Return the id of the widget that edits a field: `lora-r` for `lora.r`."""
    return key.replace(".", "-")


class SpecForm(VerticalScroll, can_focus=False):
    """The form; it posts `Edited` at each change and `Explained` when another field gets the focus."""

    # With priority, so that text that comes with the key, in one packet of a slow line, goes to the next field.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "down,tab",
            "next_field",
            "Next field",
            show=False,
            tooltip="To the next field",
            priority=True,
            id="form.next",
        ),
        Binding(
            "enter",
            "enter",
            "Choose, or next",
            show=False,
            tooltip="List what modules, parameters, name or split may be; elsewhere, go to the next field",
            priority=True,
            id="form.enter",
        ),
        Binding(
            "up,shift+tab",
            "previous_field",
            "Previous field",
            show=False,
            tooltip="To the field before",
            priority=True,
            id="form.previous",
        ),
    ]

    class Edited(Message):
        """A value changed."""

    class ListWanted(Message):
        """The person wants a list of what the field of this key may hold."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Explained(Message):
        """The person entered a field."""

        def __init__(self, field: SpecField) -> None:
            super().__init__()
            self.field = field

    def __init__(self, values: dict[str, Any], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._values = values

    def compose(self) -> ComposeResult:
        section = ""
        for key, field in spec_fields().items():
            if field.group != section:
                section = field.group
                yield Label(SECTION_TITLES[section], classes="section", markup=False)
            yield FieldRow(field, format_value(self._values[key]))

    @property
    def rows(self) -> list[FieldRow]:
        return list(self.query(FieldRow))

    def values(self) -> dict[str, Any]:
        """Return every field's value by key; raises SpecError for the first that is wrong."""
        return {row.field.key: row.value for row in self.rows}

    @property
    def edited(self) -> bool:
        """True if any value changed since the form opened."""
        start = {key: format_value(value) for key, value in self._values.items()}
        return any(row.error or format_value(row.value) != start[row.field.key] for row in self.rows)

    def changes(self) -> dict[str, Any]:
        """Return, by key, the valid values that changed since the form opened."""
        return {
            row.field.key: row.value
            for row in self.rows
            if row.error is None and format_value(row.value) != format_value(self._values[row.field.key])
        }

    def changed_texts(self) -> dict[str, str]:
        """Return, by key, the texts of the fields that changed since the form opened, valid or not."""
        return {row.field.key: row.text for row in self.rows if row.changed}

    def focus_field(self, key: str) -> None:
        self.query_one(f"#{control_id(key)}").focus()

    def text(self, key: str) -> str:
        """Return what the field of `key` holds, valid or not."""
        return next(row.text for row in self.rows if row.field.key == key)

    def fill(self, key: str, text: str) -> None:
        """Put `text` into a field.

        Raises:
            SpecError: the field is a choice, and `text` is not one of its words.
        """
        control = self.query_one(f"#{control_id(key)}")
        if isinstance(control, SanitizedInput):
            control.put(text)
        elif isinstance(control, Choice):
            control.value = text = format_value(parse_value(key, text))
        self._judge(control, text)

    def reset_field(self, control: Widget) -> None:
        """Put the field that `control` edits back to the value the form opened with."""
        for row in control.ancestors_with_self:
            if isinstance(row, FieldRow):
                self.fill(row.field.key, format_value(self._values[row.field.key]))

    @on(Input.Changed)
    def judge_input(self, event: Input.Changed) -> None:
        event.stop()
        assert isinstance(event.input, SanitizedInput)
        self._judge(event.input, event.input.text)

    @on(Choice.Changed)
    def judge_choice(self, event: Choice.Changed) -> None:
        event.stop()
        self._judge(event.choice, event.choice.value)

    def _judge(self, control: Widget, text: str) -> None:
        for row in control.ancestors_with_self:
            if isinstance(row, FieldRow) and row.text != text:  # a field says its first text too
                row.judge(text)
                self.post_message(self.Edited())

    def action_enter(self) -> None:
        """Ask for the list of a field that has one; anywhere else, go to the next field."""
        focused = self.screen.focused
        key = next((key for key in LISTED_KEYS if focused is not None and focused.id == control_id(key)), None)
        if key is not None:
            self.post_message(self.ListWanted(key))
        else:
            self.screen.focus_next()

    def action_next_field(self) -> None:
        self.screen.focus_next()

    def action_previous_field(self) -> None:
        self.screen.focus_previous()

    def on_resize(self) -> None:
        """Keep the focused field in view when the panels below the form grow."""
        focused = self.screen.focused
        if focused is not None and self in focused.ancestors:
            self.call_after_refresh(self.scroll_to_widget, focused, animate=False)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        for row in event.widget.ancestors_with_self:
            if isinstance(row, FieldRow):
                self.post_message(self.Explained(row.field))
