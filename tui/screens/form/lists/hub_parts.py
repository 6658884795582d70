"""The list of the configurations or splits of a directory or of a dataset on the hub, opened from the form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from textual import work

from engine.dataset.data_files import has_parts, parts_of
from engine.dataset.hub_parts import PartsRequest, list_hub_parts
from engine.dataset.load import local_data_path
from engine.errors import DatasetError, LoratuiError
from engine.spec.data import DataSpec
from engine.spec.held_out import held_out_set
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
    data = DataSpec(
        form.text("data.path").strip(), form.text("data.name").strip() or None,
        revision=form.text("data.revision").strip() or None,
        eval_path=form.text("data.eval_path").strip() or None, eval_name=form.text("data.eval_name").strip() or None,
        eval_split="any",
    )  # fmt: skip
    wanted = (held_out_set(data) if key.startswith("data.eval_") else None) or data
    path, request = wanted.path, PartsRequest(PARTS[key], wanted)
    local = local_data_path(path)
    if local is not None and not has_parts(local):
        plural = PLURALS[request.part]
        screen.post_message(
            ActionFailed(
                DatasetError(f"{path!r} is not a directory: only a directory, or a dataset of the hub, has {plural}")
            )
        )
        return
    if local is None:
        screen.post_message(ActionDone(f"asking the hub for the {PLURALS[request.part]} of {path}"))
    _list(screen, form, key, request, local)


@work(thread=True, exclusive=True, group="hub parts")
def _list(screen: WorkspaceScreen, form: SpecForm, key: str, request: PartsRequest, directory: Path | None) -> None:
    try:
        names = parts_of(directory, request.part, request.data) if directory is not None else list_hub_parts(request)
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
    else:
        screen.app.call_from_thread(_choose, screen, form, key, request, names)


def _choose(screen: WorkspaceScreen, form: SpecForm, key: str, request: PartsRequest, names: tuple[str, ...]) -> None:
    def chosen(index: int | None) -> None:
        if index is not None:
            form.fill(key, names[index])

    question = f"{PLURALS[request.part].capitalize()} of {request.data.path}"
    screen.app.push_screen(ChooseScreen(question, [(name, "") for name in names]), chosen)
