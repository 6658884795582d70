"""The form of a new round: every hyperparameter, what follows from them, and the note that says why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Paste
from textual.geometry import Size
from textual.widgets import Input, Label, Static, TextArea

from engine.api import Cockpit
from engine.errors import SpecError
from engine.files.drafts import Draft
from engine.planning.forecast import Forecast
from engine.planning.remarks.remark import Remark
from engine.spec.fields import build_spec
from engine.spec.overrides import is_set_line, set_words
from engine.spec.round import Round
from engine.spec.schema import Spec
from tui.messages import ActionDone, ActionFailed, RoundQueued, SpecChecked
from tui.pollers import pause
from tui.screens.dialogs.confirm import confirm
from tui.screens.form.fields.row import control_id
from tui.screens.form.forecaster import Forecaster
from tui.screens.form.form_draft import FORM, NAME, NOTE, changed_texts, form_texts
from tui.screens.form.lists.offer import offer_list
from tui.screens.form.note_area import NoteArea
from tui.screens.form.pasted_line import take_line
from tui.screens.form.plan_panel import PlanPanel
from tui.screens.form.preview_screen import PreviewScreen
from tui.screens.form.queue_round import queue_round
from tui.screens.form.remarks_screen import show_remarks
from tui.screens.form.save_preset import save_as_preset
from tui.screens.form.searchable_form import SearchableForm
from tui.screens.form.spec_form import SpecForm
from tui.screens.form.start_from import Origin
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean, clean_line
from tui.widgets.key_footer import KeyFooter
from tui.widgets.live_text import LiveText
from tui.widgets.sanitized_input import SanitizedInput

TYPING_SECONDS = 0.15
REST_SECONDS = 0.5  # that nothing is typed before a process starts, or the hub is asked for a model
LENGTH_FIELD = control_id("data.max_length")


class EditScreen(WorkspaceScreen):
    """Edit a spec and queue it; relative paths start from `directory`."""

    MIN_SIZE = Size(80, 22)  # 80x24 without the two lines that tmux or screen may take
    AUTO_FOCUS = f"#{control_id('train.learning_rate')}"  # from the start, or the first keys would go into the name
    # Textual writes `ClassVar[...] | None`, which mypy takes for an attribute of instances.
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-narrow"), (120, "-wide")]  # type: ignore[misc]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start", tooltip="Queue the round and watch it", priority=True, id="edit.start"),
        Binding("escape", "leave", "Back", tooltip="End the search, or leave the form", id="edit.leave"),
        Binding("ctrl+o", "preview", "Preview", tooltip="Show rows as they are used", priority=True, id="edit.preview"),
        Binding("ctrl+n", "note", "Note", tooltip="Write down why you start this round", priority=True, id="edit.note"),
        Binding("ctrl+x", "remarks", "Remarks", tooltip="Say what is remarkable", priority=True, id="edit.remarks"),
        Binding(
            "ctrl+r",
            "reset_field",
            "Reset field",
            tooltip="Reset the field to the value it had at the start",
            id="edit.reset",
        ),
        Binding(
            "ctrl+y",
            "copy_line",
            "Copy --set",
            tooltip="Copy your changes, to paste them after loratui new or into another form",
            priority=True,
            id="edit.copy",
        ),
        Binding("ctrl+k", "find", "Find field", tooltip="Find a field by typing", priority=True, id="edit.find"),
        Binding(
            "ctrl+f",
            "save_preset",
            "Save preset",
            tooltip="Save these settings as a preset",
            priority=True,
            id="edit.preset",
        ),
    ]

    def __init__(self, cockpit: Cockpit, origin: Origin, directory: Path) -> None:
        super().__init__(cockpit)
        self._origin = origin
        self._directory = directory
        self._spec: Spec | None = None
        self._forecaster = Forecaster(cockpit)
        self._remarks: Sequence[Remark] = ()
        self._drafting = cockpit.drafts.edit(FORM, [origin.draft] if origin.draft is not None else [])

    def compose(self) -> ComposeResult:
        with Horizontal(id="edit-body"):
            with Vertical(id="edit-fields"):
                title = Content.assemble(("New round", "bold"), f"  {clean_line(self._origin.in_words)}")
                yield Static(title, id="title", markup=False)
                with Horizontal(classes="head-field"):
                    yield Label("name", classes="field-name", markup=False)
                    yield SanitizedInput(self._origin.name, compact=True, id="name", placeholder="name of the round")
                with Horizontal(classes="head-field"):
                    yield Label("note", classes="field-name", markup=False)
                    yield NoteArea(id="note", compact=True, placeholder="why this round", tab_behavior="focus")
                yield SearchableForm(self._origin.spec)
            with Vertical(id="edit-side"):
                yield LiveText(id="explained")
                yield PlanPanel(id="plan")
                yield LiveText(id="changes")
        yield KeyFooter(("edit.start", "edit.leave", "edit.find"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return False until the fields are mounted."""
        return self.is_mounted and super().check_action(action, parameters)

    def on_mount(self) -> None:
        if self._origin.draft is not None:
            self._fill_in(self._origin.draft)
        self._plan()

    def _fill_in(self, draft: Draft) -> None:
        """Put the texts of a half-filled form into the fields."""
        form = self.query_one(SpecForm)
        for key, text in changed_texts(draft).items():
            with suppress(SpecError):  # a word that this version does not have
                form.fill(key, text)
        self.query_one("#name", SanitizedInput).put(draft.texts.get(NAME, ""))
        self.query_one(NoteArea).text = clean(draft.texts.get(NOTE, ""))

    @on(Input.Changed, "#name")
    @on(TextArea.Changed)
    def _keep_draft(self) -> None:
        """Keep what the form holds, if that is not what it opened with."""
        name, note = self.query_one("#name", SanitizedInput).text, self.query_one(NoteArea).text
        changed = self.query_one(SpecForm).changed_texts()
        is_edited = bool(changed or note.strip() or name != self._origin.name)
        self._drafting.keep(form_texts(self._origin, name, note, changed) if is_edited else {})

    @on(SpecForm.Explained)
    def _explain(self, event: SpecForm.Explained) -> None:
        self.query_one("#explained", LiveText).tell(event.content)
        self.query_one(PlanPanel).show_lengths(self.focused is not None and self.focused.id == LENGTH_FIELD)

    @on(SpecForm.Edited)
    def _plan(self) -> None:
        """Check the spec in a worker, which reads data and model too."""
        self._keep_draft()
        self._show_changes()
        panel = self.query_one(PlanPanel)
        try:
            self._spec = self._read_form()
        except SpecError as error:
            self._spec = None
            self.workers.cancel_group(self, "check")
            panel.show_error(str(error))
            return
        self._check(self._spec)

    def _set_line(self) -> str:
        """Return the changes since the form opened, as arguments of the command line."""
        changes = self.query_one(SpecForm).changes()
        return set_words(changes, list(changes))

    def _show_changes(self) -> None:
        line = clean_line(self._set_line())
        changes = Content.assemble(("changed: ", "$text-muted"), line) if line else Content("")
        panel = self.query_one("#changes", LiveText)
        panel.tell(changes)
        panel.display = bool(line)

    def _read_form(self) -> Spec:
        values: dict[str, Any] = self.query_one(SpecForm).values()
        return self.cockpit.resolve_paths(build_spec(values), self._directory)

    @work(thread=True, exclusive=True, group="check")
    def _check(self, spec: Spec) -> None:
        if not pause(TYPING_SECONDS):
            return
        for outcome in self._forecaster.outcomes(spec, lambda: pause(REST_SECONDS)):
            if not pause(0):
                return
            self.post_message(SpecChecked(outcome))

    def on_unmount(self) -> None:
        self._forecaster.close()

    @on(SpecChecked)
    def _show_plan(self, event: SpecChecked) -> None:
        if self._spec is not None:
            self._remarks = event.outcome.remarks if isinstance(event.outcome, Forecast) else ()
            self.query_one(PlanPanel).show(self._spec, event.outcome)
            if isinstance(event.outcome, SpecError) and event.outcome.key:
                self.query_one(SpecForm).reveal(event.outcome.key)

    def action_start(self) -> None:
        """Queue the round, or go to the first wrong field."""
        spec = None if self.is_carrying_out else self._read_or_tell()
        if spec is None:
            return
        name, note = self.query_one("#name", SanitizedInput).text.strip(), self.query_one(NoteArea).text.strip()
        parent = self._origin.parent.number if self._origin.parent else None

        def queue() -> Round:
            round_ = queue_round(self, self._forecaster, spec, name, note, parent)
            self._drafting.drop()
            return round_

        self.carry_out(queue, RoundQueued)

    def action_preview(self) -> None:
        """Show the rows of the current spec, or go to the first wrong field."""
        spec = self._read_or_tell()
        if spec is not None:
            self.open_above(PreviewScreen(self.cockpit, spec))

    def _read_or_tell(self) -> Spec | None:
        """Return the spec in the form; if a field is wrong, go there, say why, and return None."""
        try:
            return self._read_form()
        except SpecError as error:
            if error.key:
                self.query_one(SpecForm).focus_field(error.key)
            self.post_message(ActionFailed(error))
            return None

    def action_remarks(self) -> None:
        """List the remarks on the settings, and apply the remedy of the one that is chosen."""
        show_remarks(self, self.query_one(SpecForm), self._remarks, self._plan)

    def action_copy_line(self) -> None:
        """Put the `--set` line into the clipboard of the terminal."""
        if line := self._set_line():
            self.copy("the --set line of the changes", line)
        else:
            self.post_message(ActionDone("nothing is changed, so there is nothing to copy"))

    def on_paste(self, event: Paste) -> None:
        """Fill in the fields that a pasted line of settings names, whichever has the focus."""
        if not is_set_line(event.text):
            return
        event.prevent_default()
        take_line(self, self.query_one(SpecForm), event.text)

    @on(SpecForm.ListWanted)
    def _list_choices(self, event: SpecForm.ListWanted) -> None:
        offer_list(self, self.query_one(SpecForm), event.key, self._directory)

    async def action_save_preset(self) -> None:
        """Save the settings as a preset, or go to the first wrong field."""
        spec = self._read_or_tell()
        if spec is not None:
            name, note = self.query_one("#name", SanitizedInput).text, self.query_one(NoteArea).text
            save_as_preset(self, spec, name, note, await self.begin_draft("name of a preset"))

    async def action_note(self) -> None:
        await self._end_search()
        self.query_one(NoteArea).focus()

    def action_reset_field(self) -> None:
        focused = self.focused
        if focused is not None:
            self.query_one(SpecForm).reset_field(focused)

    @property
    def unsaved(self) -> bool:
        typed = (
            self.query_one(NoteArea).text.strip() or self.query_one("#name", SanitizedInput).text != self._origin.name
        )
        return bool(typed) or self.query_one(SpecForm).edited

    def action_find(self) -> None:
        self.add_class("-searching")
        self.query_one(SearchableForm).find()

    async def _end_search(self) -> None:
        self.remove_class("-searching")
        await self.query_one(SearchableForm).end_search()

    async def action_leave(self) -> None:
        """End the search; else go back to the table, with what was typed as a draft. Ask if that cannot be kept."""
        if self.query_one(SearchableForm).is_searching:
            await self._end_search()
            return
        if not self.unsaved or await self.is_kept():
            if self.unsaved:
                self.app.notify("your half-filled form is kept: a new round offers it first", markup=False)
            self.app.pop_screen()
            return
        confirm(self.app, "Discard your changes?", "Discard", self.app.pop_screen)
