"""Opening the form of a new round, after the choice of its start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.files.drafts import Draft
from engine.spec.round import Round
from tui.screens.form.form_draft import FORM, unfinished_forms
from tui.screens.form.start_from import Origin, StartFromScreen
from tui.screens.workspace_screen import WorkspaceScreen

OFFERED = 5  # forms that were left half-filled


async def open_form(screen: WorkspaceScreen, selected: Round | None, rounds: Sequence[Round], directory: Path) -> None:
    """Let the person choose a start, and open the form above `screen`; relative paths start from `directory`."""
    drafts = screen.cockpit.drafts
    unfinished = unfinished_forms(await screen.find_drafts(FORM), rounds)[:OFFERED]

    def chosen(origin: Origin | None) -> None:
        if origin is not None:
            from tui.screens.form.screen import EditScreen

            screen.open_above(EditScreen(screen.cockpit, origin, directory))

    def discard(draft: Draft) -> None:
        drafts.edit(FORM, [draft]).drop()

    screen.app.push_screen(StartFromScreen(selected, unfinished, discard), chosen)
