"""The list of the base model's modules, opened from the form."""

from __future__ import annotations

from textual import work

from engine.errors import ModelError, SpecError
from engine.preflight.target_modules import ModelModules, model_modules
from engine.spec.fields import parse_value
from tui.messages import ActionFailed
from tui.screens.form.spec_form import MODULES_KEY, SpecForm
from tui.screens.form.target_modules import TargetModulesScreen
from tui.screens.workspace_screen import WorkspaceScreen


@work(thread=True, exclusive=True, group="modules")
def offer_modules(screen: WorkspaceScreen, form: SpecForm, model: str, text: str) -> None:
    """Read the modules of `model`, whose weights may be on a slow disk, and list them above `screen`.

    Those named in `text` are ticked; the choice goes into `form`.
    """
    try:
        modules = model_modules(model, revision=form.text("model.revision").strip() or None)
    except ModelError as error:
        screen.post_message(ActionFailed(error))
    else:
        screen.app.call_from_thread(_list, screen, form, modules, text)


def _list(screen: WorkspaceScreen, form: SpecForm, modules: ModelModules, text: str) -> None:
    def chosen(names: str | None) -> None:
        if names is not None:
            form.fill(MODULES_KEY, names)

    try:
        ticked: str | tuple[str, ...] = parse_value(MODULES_KEY, text)
    except SpecError:
        ticked = ()
    screen.app.push_screen(TargetModulesScreen(modules, ticked), chosen)
