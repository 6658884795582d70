"""Editing the name, note and tags of a round in the line at the bottom of the screen, and pinning rounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from textual.message import Message

from engine.api import Cockpit
from engine.errors import LoratuiError
from engine.spec.round import Round
from tui.screens.rounds.editor_line import EditorLine
from tui.screens.rounds.selection import Act, SelectedRoundsScreen, Undoable, rounds_are
from tui.widgets.line_editor import LineEditor

SAVE_HINT = "enter save · esc leave it as a draft"


class Annotated(Message):
    """The text of `editor` was saved, or it was not and `error` says why."""

    def __init__(self, editor: LineEditor, text: str, error: LoratuiError | None = None) -> None:
        super().__init__()
        self.editor = editor
        self.text = text
        self.error = error


class Annotations:
    """Edits rounds of `screen` in `line`. The line stays open until its text is saved or the person cancels.

    Args:
        round_of: finds a round by its number, as it is now; None if it was deleted.
    """

    def __init__(self, screen: SelectedRoundsScreen, line: EditorLine, round_of: Callable[[int], Round | None]) -> None:
        self._screen = screen
        self._line = line
        self._round_of = round_of

    async def edit(self, field: str, round_: Round) -> None:
        """Open the line on the `name`, `note` or `tags` of a round."""
        stored = " ".join(round_.tags) if field == "tags" else str(getattr(round_, field))
        hint = f"words separated by spaces · {SAVE_HINT}" if field == "tags" else SAVE_HINT
        label = f"{field} of round {round_.number}"
        editor = LineEditor(label, stored, hint=hint, purpose=field, number=round_.number, multiline=field == "note")
        await self._line.open(editor, f"{field} of {round_.id}")

    def submit(self, editor: LineEditor) -> None:
        """Save what was typed, if anything was."""
        assert editor.number is not None
        round_ = self._round_of(editor.number)
        if round_ is None:
            editor.tell(f"round {editor.number} was deleted: press esc")
        elif editor.touched:
            save = partial(self._save, editor, editor.text, round_)
            self._screen.run_worker(save, thread=True, group="cockpit")
        else:
            editor.drop_draft()
            self._line.close()

    def _save(self, editor: LineEditor, text: str, round_: Round) -> None:
        """Write to the store; runs in a thread."""
        field = editor.purpose
        changes: dict[str, Any] = {field: tuple(dict.fromkeys(text.split())) if field == "tags" else text}
        error = None
        try:
            self._screen.cockpit.annotate(round_.number, **changes)
        except LoratuiError as refusal:
            error = refusal
        else:
            undo = annotating(self._screen.cockpit, **{field: getattr(round_, field)})
            self._screen.undoable.append(Undoable([round_], undo, f"round {round_.number} has its old {field} again"))
        self._screen.post_message(Annotated(editor, text, error))

    def after_saving(self, event: Annotated) -> None:
        """Close the line if nothing else was typed meanwhile; say in it why the text could not be saved."""
        editor = event.editor
        if event.error is not None:
            editor.tell(f"{event.error.message} (enter tries again)")
            return
        if editor.is_attached and editor.text == event.text:
            editor.drop_draft()
            self._line.close()
        self._screen.refresh_allowed()

    def cancel(self) -> None:
        """Close the line without saving; the draft stays."""
        self._line.close()

    def pin(self, rounds: list[Round]) -> None:
        """Pin those that are not; if all are, unpin them."""
        pin = not all(round_.pinned for round_ in rounds)
        cockpit = self._screen.cockpit
        self._screen.do_to_each(
            [round_ for round_ in rounds if round_.pinned is not pin],
            annotating(cockpit, pinned=pin),
            undo=annotating(cockpit, pinned=not pin),
            undo_text=f"{rounds_are(rounds)} {'no longer pinned' if pin else 'pinned again'}",
        )


def annotating(cockpit: Cockpit, **changes: Any) -> Act:
    """Return a function that makes these changes to a round."""
    return lambda round_: cockpit.annotate(round_.number, **changes)
