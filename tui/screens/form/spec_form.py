"""The hyperparameters of a spec as lines to fill in, the usual ones in sight and the others folded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widget import AwaitMount, Widget
from textual.widgets import Input

from engine.spec.data import DataSpec
from engine.spec.fields import changed_keys, flatten, format_value, parse_value, spec_fields
from engine.spec.schema import ModelSpec, Spec
from tui.screens.form.fields.entry import Entry
from tui.screens.form.fields.fold_line import FoldLine
from tui.screens.form.fields.row import FieldRow, has_list
from tui.screens.form.fields.section import FormSection, controls_of
from tui.widgets.choice import Choice
from tui.widgets.sanitized_input import SanitizedInput

SECTION_TITLES = {
    "model": "base model", "data": "data", "lora": "adapter (peft)", "train": "training (transformers)",
    "generation": "scored answers (transformers)",
}  # fmt: skip


class SpecForm(VerticalScroll, can_focus=False):
    """The form; it posts `Edited` at each change and `Explained` when another field gets the focus.

    In sight are the usual fields, and those whose value is not the default or was changed here. The others are folded
    under a line at the end of their section. A folded field has no widget until it is first shown.
    """

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
            "Choose, open, or next",
            show=False,
            tooltip="List what the field may hold, where it says so; open or fold a line of further fields; "
            "elsewhere, go to the next field",
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
        """The person entered a field, or the line of folded ones, which `content` explains."""

        def __init__(self, content: Content) -> None:
            super().__init__()
            self.content = content

    def __init__(self, spec: Spec, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries = {key: Entry(spec_fields()[key], value) for key, value in flatten(spec).items()}
        plain = Spec(ModelSpec(spec.model.path), DataSpec(spec.data.path))
        in_sight = {key for key, field in spec_fields().items() if field.usual} | set(changed_keys(spec, plain))
        self._sections = {
            group: FormSection(title, [key for key in self.entries if spec_fields()[key].group == group], in_sight)
            for group, title in SECTION_TITLES.items()
        }
        self._rows: dict[str, FieldRow] = {}
        self._matches: Collection[str] | None = None

    def compose(self) -> ComposeResult:
        for section in self._sections.values():
            yield section.heading
            for key in section.in_sight:
                yield self._add_row(key)
            yield section.line

    def _add_row(self, key: str) -> FieldRow:
        self._rows[key] = FieldRow(self.entries[key])
        return self._rows[key]

    def _arrange(self) -> list[AwaitMount]:
        """Show the lines that are in sight now, and no others; returns what to await for those that are new."""
        mounting: list[AwaitMount] = []
        following: Widget | None = None  # before which the next line stands, from the last one up
        for section in reversed(self._sections.values()):
            for key in reversed(section.folded):
                following = self._show_row(key, following, mounting, shown=section.line.is_open)
            section.line.display = self._matches is None and bool(section.folded)
            following = section.line
            for key in reversed(section.in_sight):
                following = self._show_row(key, following, mounting, shown=True)
            section.heading.display = self._matches is None or any(key in self._matches for key in section.keys)
            following = section.heading
        return mounting

    def _show_row(
        self, key: str, following: Widget | None, mounting: list[AwaitMount], *, shown: bool
    ) -> Widget | None:
        """Show the line of a field, or hide it; returns the widget before which the line above comes."""
        if self._matches is not None:
            shown = key in self._matches
        row = self._rows.get(key)
        if row is None:
            if not shown:
                return following
            row = self._add_row(key)
            mounting.append(self.mount(row, before=following))
        row.display = shown
        return row

    def reveal(self, key: str) -> None:
        """Keep the field of `key` in sight from now on."""
        section = self._sections[spec_fields()[key].group]
        if key in section.in_sight or (section.line.is_open and self._matches is None):
            return
        section.bring_up(key)
        after = section.in_sight[section.in_sight.index(key) + 1 :]
        if key in self._rows:
            self.move_child(self._rows[key], before=self._rows[after[0]] if after else section.line)
        self._arrange()

    async def show_only(self, keys: Collection[str] | None) -> None:
        """Show these fields and their sections; None shows the form as it was."""
        self._matches = keys
        for each in self._arrange():
            await each

    def keep_in_sight(self, control: Widget) -> None:
        """Keep the field that `control` edits in sight, and scroll to it."""
        if row := _row_of(control):
            self.reveal(row.entry.field.key)
        self.call_after_refresh(self.scroll_to_widget, control, animate=False)

    @on(FoldLine.Turned)
    async def turn_fold(self, event: FoldLine.Turned) -> None:
        event.stop()
        await self._turn(event.line, event.is_open)

    async def _turn(self, line: FoldLine, is_open: bool) -> None:
        """Open a section, or fold the fields of it away that are as they were."""
        section = next(each for each in self._sections.values() if each.line is line)
        section.line.is_open = is_open
        if not is_open:
            for key in section.folded:
                if self.entries[key].changed:
                    self.reveal(key)
        for each in self._arrange():
            await each
        self.post_message(self.Explained(section.line.explanation))
        self.call_after_refresh(self._scroll_to_section, section)

    def _scroll_to_section(self, section: FormSection) -> None:
        """Scroll so that as many of the opened fields are seen as there is room below their line."""
        if section.line.is_open:
            self.scroll_to_widget(self._rows[section.folded[-1]], animate=False, immediate=True)
        self.scroll_to_widget(section.line, animate=False, immediate=True)

    def values(self) -> dict[str, Any]:
        """Return every field's value by key; raises SpecError for the first that is wrong."""
        return {key: entry.value for key, entry in self.entries.items()}

    @property
    def edited(self) -> bool:
        """True if any value changed since the form opened."""
        return any(entry.changed for entry in self.entries.values())

    def changes(self) -> dict[str, Any]:
        """Return, by key, the valid values that changed since the form opened."""
        return {key: entry.value for key, entry in self.entries.items() if entry.changed and entry.error is None}

    def changed_texts(self) -> dict[str, str]:
        """Return, by key, the texts of the fields that changed since the form opened, valid or not."""
        return {key: entry.text for key, entry in self.entries.items() if entry.changed}

    def focus_field(self, key: str) -> None:
        """Go to the field of `key`, which is then in sight."""
        self.reveal(key)
        if self._matches is not None and key not in self._matches:
            self._matches = {*self._matches, key}
            self._arrange()
        self._rows[key].take_focus()

    def text(self, key: str) -> str:
        """Return what the field of `key` holds, valid or not."""
        return self.entries[key].text

    def fill(self, key: str, text: str) -> None:
        """Put `text` into a field, which is then in sight.

        Raises:
            SpecError: the field is a choice, and `text` is not one of its words.
        """
        if spec_fields()[key].choices:
            text = format_value(parse_value(key, text))
        self.reveal(key)
        self._rows[key].put(text)
        self._judge(self._rows[key], text)

    def reset_field(self, control: Widget) -> None:
        """Put the field that `control` edits back to the value the form opened with."""
        if row := _row_of(control):
            self.fill(row.entry.field.key, row.entry.original)

    @on(Input.Changed)
    def judge_input(self, event: Input.Changed) -> None:
        event.stop()
        assert isinstance(event.input, SanitizedInput)
        self._judge(_row_of(event.input), event.input.text)

    @on(Choice.Changed)
    def judge_choice(self, event: Choice.Changed) -> None:
        event.stop()
        self._judge(_row_of(event.choice), event.choice.value)

    def _judge(self, row: FieldRow | None, text: str) -> None:
        if row is not None and row.entry.text != text:  # a field says its first text too
            row.judge(text)
            self.post_message(self.Edited())

    async def action_enter(self) -> None:
        """Ask for the list of a field that has one, or turn a line of folded fields; else go to the next field."""
        row = _row_of(focused := self.screen.focused)
        if isinstance(focused, FoldLine):
            # Waited for, so that a key that came at once with this one goes to what it opened.
            await self._turn(focused, not focused.is_open)
        elif row is not None and has_list(row.entry.field):
            self.post_message(self.ListWanted(row.entry.field.key))
        else:
            self.action_next_field()

    def action_next_field(self) -> None:
        if not self._move_focus(1):
            self.screen.focus_next()

    def action_previous_field(self) -> None:
        if not self._move_focus(-1):
            self.screen.focus_previous()

    def _move_focus(self, by: int) -> bool:
        """Focus another field or line of the form, if there is one.

        The screen would go by places on it, which a field that was just opened does not have yet.
        """
        controls = controls_of(self.children)
        place = controls.index(focused) + by if (focused := self.screen.focused) in controls else -1
        if 0 <= place < len(controls):
            controls[place].focus()
            return True
        return False

    def on_resize(self) -> None:
        """Keep the focused field in view when the panels below the form grow."""
        focused = self.screen.focused
        if focused is not None and self in focused.ancestors:
            self.call_after_refresh(self.scroll_to_widget, focused, animate=False)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        row = _row_of(event.widget)
        if row is not None:
            self.post_message(self.Explained(row.entry.explanation))
        elif isinstance(event.widget, FoldLine):
            self.post_message(self.Explained(event.widget.explanation))


def _row_of(control: Widget | None) -> FieldRow | None:
    """Return the line of the field that `control` edits; None if it edits none."""
    lines = control.ancestors_with_self if control is not None else ()
    return next((line for line in lines if isinstance(line, FieldRow)), None)
