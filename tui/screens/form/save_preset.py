"""Save the settings of the form as a preset: ask for its name, and before an older one is replaced."""

from __future__ import annotations

import re
import time

from engine.errors import LoratuiError
from engine.files.drafts import Drafting
from engine.spec.presets import (
    Preset,
    check_preset_name,
    load_preset,
    presets,
    save_preset,
    shipped_presets,
)
from engine.spec.schema import Spec
from tui.messages import ActionDone, ActionFailed
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.confirm import confirm
from tui.screens.workspace_screen import WorkspaceScreen

MAX_DESCRIPTION = 120
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def save_as_preset(screen: WorkspaceScreen, spec: Spec, name: str, note: str, drafting: Drafting) -> None:
    """Ask for a name, suggesting `name`, and save `spec` under it; `note` becomes its description."""
    description = " ".join(note.split())[:MAX_DESCRIPTION] or f"saved on {time.strftime('%d %B %Y')}"
    preset = Preset(description, spec)

    def named(chosen: str | None) -> None:
        if chosen is not None:
            _save(screen, chosen, preset)

    suggested = NOT_IN_A_NAME.sub("-", name).strip("-.")
    if suggested in shipped_presets():
        suggested = f"my-{suggested}"
    question = "Save these settings as the preset"
    screen.app.push_screen(AskScreen(question, suggested, check_preset_name, drafting), named)


def _save(screen: WorkspaceScreen, name: str, preset: Preset) -> None:
    """Save the preset; if there is one of that name, show its description and ask first."""

    def write() -> None:
        try:
            file = save_preset(name, preset, replace=name in presets())
        except LoratuiError as error:
            screen.post_message(ActionFailed(error))
        else:
            screen.post_message(ActionDone(f"the preset {name} is saved in {file}"))

    if name not in presets():
        write()
        return
    question = f"The preset {name} exists: {load_preset(name).description}. Overwrite it?"
    confirm(screen.app, question, "Overwrite", write)
