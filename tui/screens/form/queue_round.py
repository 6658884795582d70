"""Queue the round of the form, after the hub has said that it has the datasets."""

from __future__ import annotations

from engine.dataset.readers import local_data_path
from engine.errors import LoratuiError
from engine.preflight.checks import ask_hub
from engine.spec.round import Round
from engine.spec.schema import Spec
from engine.spec.sources import data_to_read
from tui.messages import ActionDone
from tui.pollers import pause
from tui.screens.form.forecaster import Forecaster
from tui.screens.workspace_screen import WorkspaceScreen


def queue_round(
    screen: WorkspaceScreen, forecaster: Forecaster, spec: Spec, name: str, note: str, parent: int | None
) -> Round:
    """Ask the hub, and queue the round; called in a worker of `screen`, as the answer takes a second or more.

    Raises:
        LoratuiError: the round cannot be trained, or the person left the screen before the hub had answered.
    """
    on_hub = [part.data.path for part in data_to_read(spec.data) if local_data_path(part.data.path) is None]
    if on_hub:
        screen.post_message(ActionDone(f"asking the hub for {' and '.join(dict.fromkeys(on_hub))}"))
    warnings = ask_hub(spec)
    if not pause(0):
        raise LoratuiError("no round was queued, as you left the form before the hub had answered")
    predicted = forecaster.prediction(spec)
    return screen.cockpit.queue(spec, name=name, note=note, parent=parent, warnings=warnings, predicted=predicted)
