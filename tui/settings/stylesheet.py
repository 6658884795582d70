"""The styles of all widgets, parsed once for each set of colours."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class CachedStylesheet(Stylesheet):
    """A stylesheet that is parsed again only when its colours change.

    Textual parses all styles twice when an app starts, as that sets a theme, and a third time for the next screen.
    """

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._has_other_colours = False

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)
            self._has_other_colours = True

    def reparse(self) -> None:
        """Parse with the variables that were set; sources that were added are parsed where a rule is asked for."""
        if self._has_other_colours:
            super().reparse()
            self._has_other_colours = False
