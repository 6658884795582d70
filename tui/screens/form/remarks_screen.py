"""The list of the remarks on the settings in the form: apply a remedy, or silence a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import FileError
from engine.planning.remarks.remark import Remark
from tui.messages import ActionDone
from tui.screens.dialogs.option_dialog import OptionDialog
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen
from tui.settings.silenced_rules import silence
from tui.terminal.console import clean, clean_line
from tui.views.plan import remedy_words


def show_remarks(
    screen: WorkspaceScreen, form: SpecForm, remarks: Sequence[Remark], check_again: Callable[[], object]
) -> None:
    """List `remarks` above `screen`, and put the remedy of the chosen one into `form`."""
    if not remarks:
        screen.post_message(ActionDone("no rule has a remark on these settings"))
        return

    def chosen(remark: Remark | None) -> None:
        for key, text in remark.remedy.items() if remark is not None else ():
            form.fill(key, text)
        check_again()  # a rule may have been silenced

    screen.app.push_screen(RemarksScreen(remarks), chosen)


class RemarksScreen(OptionDialog[Remark | None]):
    """Dismissed with the remark whose remedy is to be applied, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Back", tooltip="Close without a change", id="remarks.cancel"),
        Binding(
            "s", "silence", "Silence", tooltip="Never show this rule again, or show it again", id="remarks.silence"
        ),
        Binding("j", "move(1)", "Down", show=False, tooltip="To the next remark", id="remarks.down"),
        Binding("k", "move(-1)", "Up", show=False, tooltip="To the remark before", id="remarks.up"),
    ]

    def __init__(self, remarks: Sequence[Remark]) -> None:
        super().__init__()
        self._remarks = [*remarks]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Settings that the literature would not choose", classes="dialog-title", markup=False)
            yield OptionList(*(Option(_describe(remark)) for remark in self._remarks))
            yield Static("enter apply the remedy · s silence the rule · esc back", classes="hint", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._remarks[event.option_index])

    def action_silence(self) -> None:
        """Silence the rule under the cursor for good, or let it be heard again."""
        options = self.query_one(OptionList)
        if (index := options.highlighted) is None:
            return
        remark = self._remarks[index]
        try:
            silence(remark.rule, not remark.silenced)
        except FileError as error:
            self.notify(clean(error.message), severity="error", markup=False)
            return
        self._remarks[index] = msgspec.structs.replace(remark, silenced=not remark.silenced)
        options.replace_option_prompt_at_index(index, _describe(self._remarks[index]))


def _describe(remark: Remark) -> Content:
    if remark.silenced:
        return Content.styled(f"{remark.rule} · silenced", "$text-muted")
    return Content.assemble(
        (remark.rule, "bold"), f"  {clean_line(remark.reason)}\n",
        (clean_line(remedy_words(remark) or "nothing to apply"), "$text-success"), "\n",
        (remark.source, "$text-muted"),
    )  # fmt: skip
