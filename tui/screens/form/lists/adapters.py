"""The list of the rounds whose adapter training may start from."""

from __future__ import annotations

from textual import work

from engine.compare.columns import columns
from engine.errors import LoratuiError, RoundError
from engine.spec.fields import flatten, format_value
from engine.spec.round import Round
from tui.messages import ActionFailed
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.form.fields.row import ADAPTER_KEY
from tui.screens.form.spec_form import SpecForm
from tui.screens.workspace_screen import WorkspaceScreen

SHAPE = (
    "lora.r", "lora.lora_alpha", "lora.use_rslora", "lora.use_dora", "lora.bias", "lora.target_modules",
    "lora.target_parameters", "lora.exclude_modules", "lora.modules_to_save", "lora.trainable_token_indices",
)  # fmt: skip


@work(thread=True, exclusive=True, group="adapters")
def offer_adapters(screen: WorkspaceScreen, form: SpecForm, models: tuple[str, ...]) -> None:
    """List, above `screen`, the rounds that have an adapter on the base model of these names, the newest first.

    The choice goes into `form`, with the shape of that round's adapter.
    """
    cockpit = screen.cockpit
    try:
        rounds = [
            round_
            for round_ in reversed(cockpit.store.rounds())
            if round_.spec.model.path in models and cockpit.workspace.run_dir(round_.id).adapter.is_dir()
        ]
    except LoratuiError as error:
        screen.post_message(ActionFailed(error))
        return
    if not rounds:
        reason = f"no round here has an adapter for model.path {models[0]!r}: type the directory of one"
        screen.post_message(ActionFailed(RoundError(reason)))
        return
    screen.app.call_from_thread(_choose, screen, form, rounds)


def _choose(screen: WorkspaceScreen, form: SpecForm, rounds: list[Round]) -> None:
    def chosen(index: int | None) -> None:
        if index is not None:
            values = flatten(rounds[index].spec)
            for key in SHAPE:
                if form.text(key) != (text := format_value(values[key])):  # or folded fields would be in the way
                    form.fill(key, text)
            form.fill(ADAPTER_KEY, str(rounds[index].number))

    screen.app.push_screen(ChooseScreen("Start from the adapter of", [_option(round_) for round_ in rounds]), chosen)


def _option(round_: Round) -> tuple[str, str]:
    figures = [f"perplexity {text}" for text in [columns()["perplexity"].text(round_)] if text]
    return f"round {round_.number}  {round_.name}".rstrip(), " · ".join([*figures, *filter(None, [round_.note])])
