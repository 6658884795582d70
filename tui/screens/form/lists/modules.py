"""The list of the base model's modules, opened from the form."""

from __future__ import annotations

from textual import work

from engine.errors import ModelError, SpecError
from engine.preflight.target_modules import ModelModules, model_modules
from engine.spec.fields import parse_value
from tui.messages import ActionFailed
from tui.screens.form.fields.row import PARAMETERS_KEY
from tui.screens.form.lists.target_modules import ALL_LINEAR, TargetModulesScreen
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen


@work(thread=True, exclusive=True, group="modules")
def offer_modules(screen: WorkspaceScreen, form: SpecForm, key: str, model: str) -> None:
    """Read the modules of `model`, whose weights may be on a slow disk, and list those for `key` above `screen`.

    Those that the field names are ticked; the choice goes into `form`.
    """
    try:
        modules = model_modules(model, revision=form.text("model.revision").strip() or None)
    except ModelError as error:
        screen.post_message(ActionFailed(error))
        return
    if key == PARAMETERS_KEY and not modules.parameters:
        unknown = f"model.path is {model!r}, of which no experts are known here: type the names of the parameters"
        screen.post_message(ActionFailed(ModelError(unknown)))
        return
    screen.app.call_from_thread(_list, screen, form, key, modules)


def _list(screen: WorkspaceScreen, form: SpecForm, key: str, modules: ModelModules) -> None:
    def chosen(names: str | None) -> None:
        if names is not None:
            form.fill(key, names)

    try:
        ticked: str | tuple[str, ...] = parse_value(key, form.text(key)) or ()
    except SpecError:
        ticked = ()
    if key == PARAMETERS_KEY:
        dialog = TargetModulesScreen("Parameters that get an adapter", modules.parameters, ticked)
    else:
        counts = {ALL_LINEAR: None, **modules.all_linear, **modules.others}
        dialog = TargetModulesScreen("Modules that get an adapter", counts, ticked)
    screen.app.push_screen(dialog, chosen)
