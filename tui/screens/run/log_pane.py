"""The engine's text log, how it is shown, and the field to search it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.widgets import Input, Static

from engine.files.drafts import Drafting
from tui.screens.run.log_view import LogView
from tui.screens.run.search_field import SearchField
from tui.terminal.console import clean_line


class LogPane(Vertical):
    """The log, above it a line that says how it is shown, below it the field to search it."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    LogPane { height: 1fr; }
    LogPane > #log-title { height: 1; padding: 0 1; background: $panel; color: $text-muted; text-wrap: nowrap; }
    LogPane:focus-within > #log-title { background: $primary; color: $text; text-style: bold; }
    LogPane > LogView {
        height: 1fr; padding-left: 1; background: $background; scrollbar-size: 0 1; scrollbar-gutter: stable;
    }
    LogPane > #log-search { height: 1; border: none; padding: 0 1; background: $surface; display: none; }
    LogPane.-searching > #log-search { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._searched = ""

    def compose(self) -> ComposeResult:
        yield Static(id="log-title", markup=False)
        yield LogView(id="log-view")
        yield SearchField(id="log-search")

    def on_mount(self) -> None:
        self._say()

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def field(self) -> SearchField:
        """The field to search the log."""
        return self.query_one(SearchField)

    @on(LogView.Changed)
    def _say(self) -> None:
        view = self.view
        words = ["log", "following" if view.following else "not following: F goes to the end"]
        if not view.lines:
            words[1:] = ["empty"]
        words += ["wrapped"] * view.wrapping
        if match_position := view.match_position:
            words.append(f"{clean_line(self._searched)!r} {match_position}")
        self.query_one("#log-title", Static).update(Content(" · ".join(words)), layout=False)

    def ask(self, drafting: Drafting) -> None:
        """Let the person type what to search for."""
        self.add_class("-searching")
        self.field.begin(drafting)
        self.field.focus()

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        self._searched = event.value
        self.field.keep()
        self.view.search(event.value)

    @on(Input.Submitted)
    def _submit(self) -> None:
        self.field.drop_draft()
        self._end_search()

    def _end_search(self) -> None:
        self.remove_class("-searching")
        self.view.focus()

    def on_key(self, event: Key) -> None:
        if event.key == "escape" and self.has_class("-searching"):
            event.stop()
            event.prevent_default()
            self.forget_search()
            self._end_search()

    @property
    def searching(self) -> bool:
        """True while a search marks something."""
        return bool(self._searched)

    def forget_search(self) -> None:
        """End the search, so that nothing is marked."""
        self.field.value = ""
