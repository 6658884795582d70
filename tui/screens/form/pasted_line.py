"""A line of settings, such as `--set lora.r=16`, that is pasted into the form."""

from __future__ import annotations

from engine.errors import SpecError
from engine.spec.overrides import read_set_line
from tui.messages import ActionDone, ActionFailed
from tui.screens.form.note_area import NoteArea
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen
from tui.terminal.console import clean
from tui.widgets.sanitized_input import SanitizedInput


def take_line(screen: WorkspaceScreen, form: SpecForm, text: str) -> None:
    """Fill in the fields on `screen` that the line `text` names, or say why it cannot be taken."""
    try:
        line = read_set_line(text)
        for key, value in line.settings.items():
            form.fill(key, value)
    except SpecError as error:
        screen.post_message(ActionFailed(error))
        return
    if line.name is not None:
        screen.query_one("#name", SanitizedInput).put(line.name)
    if line.note is not None:
        screen.query_one(NoteArea).text = clean(line.note)
    message = f"the pasted line set {len(line.settings)} field{'s' if len(line.settings) != 1 else ''}"
    left_out = f"; left out: {' '.join(line.left_out)}" if line.left_out else ""
    screen.post_message(ActionDone(message + left_out))
