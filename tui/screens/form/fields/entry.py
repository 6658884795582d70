"""The text of a field of the form, whether its line is on the screen or folded away."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from engine.errors import SpecError
from engine.spec.fields import SpecField, format_value, parse_value


class Entry:
    """The text of a field, valid or not, and `original`, the one that the form opened with.

    `error` says why the text is wrong, and is None if it is not.
    """

    def __init__(self, field: SpecField, value: Any) -> None:
        self.field = field
        self.original = format_value(value)
        self.take(self.original)

    def take(self, text: str) -> None:
        """Hold `text` from now on."""
        self.text = text
        self.error: SpecError | None = None
        try:
            self._value = parse_value(self.field.key, text)
        except SpecError as error:
            self.error = error

    @property
    def value(self) -> Any:
        """The field's value; raises SpecError if the text is not a valid one."""
        if self.error is not None:
            raise self.error
        return self._value

    @property
    def changed(self) -> bool:
        """True if the value differs from the first one; two spellings of a number do not differ."""
        return self.error is not None or format_value(self._value) != self.original

    @property
    def explanation(self) -> Content:
        """The purpose of the field, and the values it takes."""
        field = self.field
        return Content.assemble(
            (field.key, "bold"), f"  {field.description}\n", (f"takes {field.allowed}", "$text-muted")
        )
