"""The choice of the start of a new round: a preset, or the selected round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.files.drafts import Draft
from engine.spec.fields import spec_fields
from engine.spec.presets import broken_presets, presets
from engine.spec.round import Round
from engine.spec.schema import Spec
from tui.screens.dialogs.option_dialog import OptionDialog
from tui.terminal.console import clean_line


class Origin(Struct, frozen=True):
    """The start of a new round; `parent` if it is a clone, `name` for its name field, `draft` of a form to continue.

    `source` is that of the preset it comes from.
    """

    spec: Spec
    name: str
    parent: Round | None = None
    draft: Draft | None = None
    source: str = ""

    @property
    def in_words(self) -> str:
        """The start in words: `clone of round 4`, or `from preset chat-sft · after TRL, trl/scripts/sft.py`."""
        if self.parent is not None:
            return f"clone of round {self.parent.number}"
        return f"from preset {self.name}" + (f" · after {self.source}" if self.source else "")


class StartFromScreen(OptionDialog[Origin | None]):
    """Dismissed with the origin, or None if the person went back.

    Args:
        unfinished: forms that were left half-filled, which come first.
        discard: forgets one of them.
    """

    DEFAULT_CSS = """
    StartFromScreen .broken-preset { height: auto; color: $text-warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "cancel", "Back", tooltip="Go back without a new round", id="start.cancel"),
        Binding("d", "discard", "Discard", show=False, tooltip="Discard the half-filled form", id="start.discard"),
        Binding("j", "move(1)", "Down", show=False, tooltip="To the next entry", id="start.down"),
        Binding("k", "move(-1)", "Up", show=False, tooltip="To the entry before", id="start.up"),
    ]

    def __init__(
        self, selected: Round | None, unfinished: Sequence[Origin] = (), discard: Callable[[Draft], None] | None = None
    ) -> None:
        super().__init__()
        self._discard = discard
        self._origins: dict[str, Origin] = {}
        for place, origin in enumerate(unfinished):
            clock = origin.draft.clock if origin.draft is not None else ""
            self._origins[f"continue the form of {clock}{' ' * place}"] = origin  # two may be of one minute
        if selected is not None:
            self._origins[f"clone of round {selected.number}"] = Origin(selected.spec, selected.name, selected)
        self._presets = presets()
        for name, preset in self._presets.items():
            self._origins[name] = Origin(preset.spec, name, source=preset.source)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Start the new round from", classes="dialog-title", markup=False)
            options = [Option(self._describe(name), id=str(i)) for i, name in enumerate(self._origins)]
            yield OptionList(*options, id="starts")
            for sentence in broken_presets():
                yield Static(Content(f"! {clean_line(sentence)}"), classes="broken-preset", markup=False)
            discard = " · d discard a half-filled form" if any(each.draft for each in self._origins.values()) else ""
            yield Static(f"enter choose{discard} · esc back", classes="hint", markup=False)

    def _describe(self, name: str) -> Content:
        origin = self._origins[name]
        if origin.draft is not None:
            return Content.assemble((name.rstrip(), "bold"), "\n", _summary(origin, origin.draft))
        if origin.parent is None:
            lines = [Content.styled(clean_line(name), "bold"), Content(clean_line(self._presets[name].description))]
            if origin.source:
                lines.append(Content.styled(f"after {clean_line(origin.source)}", "$text-muted"))
            return Content("\n").join(lines)
        note = clean_line(origin.parent.note)
        title = f"{name}  {clean_line(origin.parent.name)}".rstrip()
        return Content.assemble((title, "bold"), "\n", note or "with all its settings")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(list(self._origins.values())[event.option_index])

    def action_discard(self) -> None:
        """Forget the half-filled form that is highlighted."""
        options = self.query_one(OptionList)
        if options.highlighted is None or self._discard is None:
            return
        name, origin = list(self._origins.items())[options.highlighted]
        if origin.draft is not None:
            self._discard(origin.draft)
            del self._origins[name]
            options.remove_option_at_index(options.highlighted)


def _summary(origin: Origin, draft: Draft) -> str:
    """Return a line on a half-filled form: its start, its note, and the settings that were changed."""
    start = f"clone of round {origin.parent.number}" if origin.parent is not None else f"from {origin.name}"
    changed = [f"{key}={text}" for key, text in draft.texts.items() if key in spec_fields()]
    return clean_line(" · ".join(part[:80] for part in (start, draft.texts.get("note", ""), *changed) if part.strip()))
