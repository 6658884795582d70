"""Writing a table of rounds to a Markdown file in the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from textual import work

from engine.errors import FileError
from engine.report.export import to_markdown, write_export
from engine.spec.round import Round
from tui.messages import ActionDone, ActionFailed
from tui.screens.dialogs.confirm import confirm
from tui.screens.workspace_screen import WorkspaceScreen

EXPORT_NAME = "comparison.md"


def export_rounds(screen: WorkspaceScreen, rounds: Sequence[Round], total: int) -> None:
    """Write `rounds`, which are some of `total`, to `comparison.md`; ask on `screen` before replacing the file."""
    path = screen.cockpit.workspace.root / EXPORT_NAME
    write = partial(_write, screen, path, rounds, total)
    if not path.exists():
        write()
        return
    confirm(screen.app, f"{path} exists. Overwrite it?", "Overwrite", write)


@work(thread=True, exclusive=True, group="export")
def _write(screen: WorkspaceScreen, path: Path, rounds: Sequence[Round], total: int) -> None:
    try:
        write_export(path, to_markdown(rounds).encode())
    except FileError as error:
        screen.post_message(ActionFailed(error))
    else:
        part = f" of {len(rounds)} of {total} rounds" if len(rounds) < total else ""
        screen.post_message(ActionDone(f"the comparison{part} is in {path}"))
