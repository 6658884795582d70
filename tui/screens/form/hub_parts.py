"""The list of a dataset's configurations or splits, opened from the form."""

from __future__ import annotations

from typing import Literal

from textual import work

from engine.dataset.hub_parts import PartsRequest, list_hub_parts
from engine.dataset.load import local_data_file
from engine.errors import DatasetError, LoratuiError
from tui.messages import ActionDone, ActionFailed
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen

PARTS: dict[str, Literal["name", "split"]] = {
    "data.name": "name", "data.split": "split", "data.eval_name": "name", "data.eval_split": "split",
}  # fmt: skip
PLURALS = {"name": "configurations", "split": "splits"}


def offer_hub_parts(screen: WorkspaceScreen, form: SpecForm, key: str) -> None:
    """List what the dataset that the form names has for the field `key`, above `screen`; the choice goes into it."""
    prefix = "data.eval_" if key.startswith("data.eval_") else "data."
    path, name = form.text(f"{prefix}path").strip(), form.text(f"{prefix}name").strip()
    if prefix == "data.eval_" and not path:
        path, name = form.text("data.path").strip(), name or form.text("data.name").strip()
    request = PartsRequest(PARTS[key], path, name or None)
    if local_data_file(path) is not None:
        screen.post_message(
            ActionFailed(DatasetError(f"{path!r} is a local file: only a dataset of the hub has {PLURALS[PARTS[key]]}"))
        )
        return
    screen.post_message(ActionDone(f"asking the hub for the {PLURALS[request.part]} of {path}"))
    _list(screen, form, key, request)


@work(thread=True, exclusive=True, group="hub parts")
def _list(screen: WorkspaceScreen, form: SpecForm, key: str, request: PartsRequest) -> None:
    try:
        names = list_hub_parts(request)
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
    else:
        screen.app.call_from_thread(_choose, screen, form, key, request, names)


def _choose(screen: WorkspaceScreen, form: SpecForm, key: str, request: PartsRequest, names: tuple[str, ...]) -> None:
    def chosen(index: int | None) -> None:
        if index is not None:
            form.fill(key, names[index])

    question = f"{PLURALS[request.part].capitalize()} of {request.path}"
    screen.app.push_screen(ChooseScreen(question, [(name, "") for name in names]), chosen)
