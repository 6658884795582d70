"""What a person says of rounds, typed at the bottom of the screen that lists them: name, note, tags; and pins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message

from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.screens.rounds.selection import SelectedRoundScreen, Undoable, named
from tui.widgets.key_footer import KeyFooter
from tui.widgets.line_editor import LineEditor

KEPT_HINT = "enter keeps it · esc leaves it as it was"


class Annotated(Message):
    """What was typed is in the store; or it is not, and `error` says why."""

    def __init__(self, editor: LineEditor, text: str, error: LoratuiError | None = None) -> None:
        super().__init__()
        self.editor = editor
        self.text = text
        self.error = error


class AnnotatingScreen(SelectedRoundScreen):
    """Edits a line at a time; it stays, with what was typed, until the store has it or the person gives it up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "edit('note')", "Note", tooltip="Edit the note of the selected round in place", id="rounds.note"),
        Binding(
            "R", "edit('name')", "Rename", show=False, tooltip="Rename the selected round", id="rounds.rename"
        ),
        Binding(
            "number_sign", "edit('tags')", "Tags", show=False, id="rounds.tags",
            tooltip="Edit the tags of the selected round: words with spaces between",
        ),
        Binding(
            "p", "pin", "Pin", show=False, id="rounds.pin",
            tooltip="Keep the marked rounds, or the selected one, on top; again: let them go",
        ),
    ]  # fmt: skip

    @property
    def editor(self) -> LineEditor | None:
        """The line that is being edited."""
        return next(iter(self.query(LineEditor)), None)

    @property
    def unsaved(self) -> bool:
        editor = self.editor
        return editor is not None and editor.number is not None and editor.touched

    async def open_editor(self, editor: LineEditor) -> None:
        """Show a line to edit, in the place of one that is open; what was typed there is not thrown away.

        It has the focus when this returns: the next key is typed, and does not do what it does in the table.
        """
        if self.editor is not None:
            if self.unsaved:
                self.set_focus(self.editor.field)
                return
            await self.editor.remove()
        await self.mount(editor, before=self.query_one(KeyFooter))
        self.set_focus(editor.field)

    def close_editor(self) -> None:
        """Take the line away; the keys are the table's again."""
        if self.editor is not None:
            self.editor.remove()
        self.focus_rounds()

    def focus_rounds(self) -> None:
        """Give the keys to the list of rounds."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("edit", "pin") and not self.cockpit.readonly:
            return True if self.targets and (action == "pin" or self.selected is not None) else None
        return super().check_action(action, parameters)

    async def action_edit(self, field: str) -> None:
        if (round_ := self.selected) is None:
            return
        stored = " ".join(round_.tags) if field == "tags" else str(getattr(round_, field))
        hint = f"words with spaces between · {KEPT_HINT}" if field == "tags" else KEPT_HINT
        label = f"{field} of round {round_.number}"
        await self.open_editor(LineEditor(label, stored, hint=hint, purpose=field, number=round_.number))

    @on(LineEditor.Submitted)
    def _save(self, event: LineEditor.Submitted) -> None:
        editor = event.editor
        if editor.number is None:
            return
        round_ = self.round_of(editor.number)
        if round_ is None:
            editor.tell(f"round {editor.number} is gone: esc gives this up")
        elif editor.touched:
            self._annotate(editor, editor.text, round_)
        else:
            self.close_editor()

    def round_of(self, number: int) -> Round | None:
        """The round of a number, if there is one."""
        raise NotImplementedError

    @work(thread=True, group="cockpit")
    def _annotate(self, editor: LineEditor, text: str, round_: Round) -> None:
        field = editor.purpose
        changes: dict[str, Any] = {field: tuple(dict.fromkeys(text.split())) if field == "tags" else text}
        error = None
        try:
            self.cockpit.annotate(round_.number, **changes)
            before: dict[str, Any] = {field: getattr(round_, field)}
            self.undoable.append(
                Undoable(
                    [round_],
                    annotate_with(self.cockpit.annotate, before),
                    f"the {field} of round {round_.number} is back",
                )
            )
        except LoratuiError as refused:
            error = refused
        self.post_message(Annotated(editor, text, error))

    @on(Annotated)
    def _annotated(self, event: Annotated) -> None:
        editor = event.editor
        if event.error is not None:
            editor.tell(f"{event.error.message} (enter tries again)")
            return
        if editor.is_attached and editor.text == event.text:
            self.close_editor()
        self.allow()

    @on(LineEditor.Cancelled)
    def _give_up(self, event: LineEditor.Cancelled) -> None:
        if event.editor.number is not None:
            self.close_editor()

    def action_pin(self) -> None:
        rounds = self.targets
        pin = not all(round_.pinned for round_ in rounds)
        self.do_to_each(
            [round_ for round_ in rounds if round_.pinned is not pin],
            annotate_with(self.cockpit.annotate, {"pinned": pin}),
            "",
            annotate_with(self.cockpit.annotate, {"pinned": not pin}),
            f"{named(rounds)} {'among the others' if pin else 'on top'} again",
        )


def annotate_with(annotate: Callable[..., Round], changes: dict[str, Any]) -> Callable[[Round], Round]:
    """What changes a round so."""
    return lambda round_: annotate(round_.number, **changes)
