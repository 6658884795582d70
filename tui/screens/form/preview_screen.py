"""One row of the data as it will be trained on, its supervised tokens in colour."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from engine.api import Cockpit
from engine.dataset.preview import Preview, Previewer
from engine.errors import LoratuiError
from engine.spec.schema import Spec
from tui.messages import RowPreviewed
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean
from tui.views.preview import SUPERVISED, preview_facts, preview_text
from tui.widgets.key_footer import KeyFooter
from tui.widgets.scroll_text import ScrollText


class PreviewScreen(WorkspaceScreen):
    """Show the rows of `spec` one by one; the process that holds the tokenizer ends with the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,n", "move(1)", "Next row", tooltip="Show the next row", id="preview.next"),
        Binding("left,h,p", "move(-1)", "Previous row", tooltip="Show the row before", id="preview.previous"),
        Binding("escape", "app.pop_screen", "Back", tooltip="Back to the form", id="preview.back"),
    ]

    def __init__(self, cockpit: Cockpit, spec: Spec) -> None:
        super().__init__(cockpit)
        self._spec = spec
        self._previewer: Previewer | None = None
        self._row = 1
        self._row_loading = False

    def compose(self) -> ComposeResult:
        title = Text.assemble(("Preview", "bold"), "  the supervised part is ", ("marked", SUPERVISED))
        yield Static(title, id="title", markup=False)
        yield Static("loading the data and the tokenizer ...", id="preview-facts", markup=False)
        with ScrollText(id="preview-body"):
            yield Static(id="preview-text", markup=False)
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one("#preview-body").focus()
        self.action_move(0)

    def on_unmount(self) -> None:
        if self._previewer is not None:
            self._previewer.close()

    @work(thread=True, group="preview")
    def _show(self, row: int) -> None:
        try:
            if self._previewer is None:
                self._previewer = Previewer(self._spec)
                if get_current_worker().is_cancelled:  # the person left the screen before the previewer existed
                    self._previewer.close()
            outcome: Preview | LoratuiError = self._previewer.show(row)
        except LoratuiError as error:
            outcome = error
        self.post_message(RowPreviewed(outcome))

    @on(RowPreviewed)
    def _take(self, event: RowPreviewed) -> None:
        self._row_loading = False
        facts, text = self.query_one("#preview-facts", Static), self.query_one("#preview-text", Static)
        if isinstance(event.outcome, LoratuiError):
            facts.update(Content.styled(f"✗ {clean(event.outcome.message)}", "bold $text-error"))
            text.update("")
            return
        self._row = event.outcome.row
        colours = self.app.get_css_variables()
        facts.update(preview_facts(event.outcome, colours["text-warning"], colours["text-error"]))
        text.update(preview_text(event.outcome))
        self.query_one("#preview-body").scroll_home(animate=False)

    def action_move(self, by: int) -> None:
        """Show the row that is `by` rows further, unless one is still being loaded."""
        if not self._row_loading:
            self._row_loading = True
            self._show(max(1, self._row + by))
