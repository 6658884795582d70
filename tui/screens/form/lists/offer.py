"""Choice of the list that belongs to a field."""

from __future__ import annotations

from pathlib import Path

from engine.spec.fields import spec_fields
from engine.spec.local_paths import looks_local
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.form.fields.row import ADAPTER_KEY, MODULES_KEY, PARAMETERS_KEY
from tui.screens.form.lists.adapters import offer_adapters
from tui.screens.form.lists.hub_parts import offer_hub_parts
from tui.screens.form.lists.modules import offer_modules
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen


def offer_list(screen: WorkspaceScreen, form: SpecForm, key: str, directory: Path) -> None:
    """List what the field `key` may hold, above `screen`; the choice goes into `form`.

    Relative paths in the form start from `directory`.
    """
    path = form.text("model.path").strip()
    model = str(Path(directory, path)) if looks_local(path) else path
    if key in (MODULES_KEY, PARAMETERS_KEY):
        offer_modules(screen, form, key, model)
    elif key == ADAPTER_KEY:
        offer_adapters(screen, form, (path, model))
    elif spec_fields()[key].choices:
        _offer_words(screen, form, key)
    else:
        offer_hub_parts(screen, form, key)


def _offer_words(screen: WorkspaceScreen, form: SpecForm, key: str) -> None:
    field = spec_fields()[key]

    def chosen(index: int | None) -> None:
        if index is not None:
            form.fill(key, field.choices[index])

    screen.app.push_screen(ChooseScreen(field.name, [(word, "") for word in field.choices]), chosen)
