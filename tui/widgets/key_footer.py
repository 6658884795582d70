"""The keys of the screen on its last line, as many as fit; the key for help is always there."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.cells import cell_len
from textual.content import Content
from textual.dom import DOMNode
from textual.events import Click
from textual.screen import Screen
from textual.widget import Widget

HELP_IDS = ("app.help", "app.palette")  # the second in a field, where the first would be typed into it
GAP = 1


class FooterKey(Struct, frozen=True):
    """A key in the footer; its action runs on `node`."""

    key: str
    word: str
    action: str
    node: DOMNode
    enabled: bool

    @property
    def width(self) -> int:
        return cell_len(self.key) + 1 + cell_len(self.word)


class KeyFooter(Widget):
    """One line with the screen's active keys; if they do not fit, those that do nothing now are left out first.

    `first` has the ids of the most important bindings, which come before all others, in this order.
    """

    DEFAULT_CSS = """
    KeyFooter { dock: bottom; height: 1; background: $footer-background; color: $footer-foreground; }
    """

    def __init__(self, first: Sequence[str] = ()) -> None:
        super().__init__()
        self._first = {name: place for place, name in enumerate(first)}
        self._keys: list[FooterKey] = []
        self._help: FooterKey | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._take_keys)

    def on_unmount(self) -> None:
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _take_keys(self, screen: Screen[object]) -> None:
        if not self.is_attached or screen is not self.screen:
            return
        by_action: dict[str, FooterKey] = {}
        ways_to_help: dict[str, FooterKey] = {}
        active = screen.active_bindings.values()
        for node, binding, enabled, _ in sorted(active, key=lambda one: self._first.get(one.binding.id or "", 99)):
            shown = FooterKey(self.app.get_key_display(binding), binding.description, binding.action, node, enabled)
            if binding.id in HELP_IDS:
                ways_to_help.setdefault(binding.id or "", shown)
            elif binding.show:
                by_action.setdefault(binding.action, shown)
        help_key = next((ways_to_help[name] for name in HELP_IDS if name in ways_to_help), None)
        if ([*by_action.values()], help_key) != (self._keys, self._help):
            self._keys, self._help = [*by_action.values()], help_key
            self.refresh()

    @property
    def all_keys(self) -> list[FooterKey]:
        """The keys that are shown where there is room, the most important first."""
        return [*self._keys, *([self._help] if self._help is not None else [])]

    def fitting(self, width: int) -> list[FooterKey]:
        """Return the keys that fit into `width` cells, the one for help last."""
        last = [self._help] if self._help is not None else []
        for keys in (self._keys, [key for key in self._keys if key.enabled]):
            if _width([*keys, *last]) <= width:
                return [*keys, *last]
        fitting: list[FooterKey] = []
        for key in keys:
            if _width([*fitting, key, *last]) > width:
                break
            fitting.append(key)
        return [*fitting, *last]

    def render(self) -> Content:
        fitting = self.fitting(self.size.width)
        pieces: list[Content | str] = [" "]
        for key in fitting:
            if key is self._help:
                pieces.append(" " * (self.size.width - _width(fitting)))
            style = "" if key.enabled else "dim"
            pieces.append(Content.styled(key.key, f"bold $footer-key-foreground {style}"))
            pieces.append(Content.styled(f" {key.word}", style))
            pieces.append(" " * GAP)
        return Content.assemble(*pieces)

    async def on_click(self, event: Click) -> None:
        """Run the action of the key under the mouse."""
        fitting = self.fitting(self.size.width)
        start = 1
        for key in fitting:
            if key is self._help:
                start = self.size.width - key.width - GAP
            if start <= event.x < start + key.width:
                await self.app.run_action(key.action, key.node)
                return
            start += key.width + GAP


def _width(keys: Sequence[FooterKey]) -> int:
    return 1 + sum(key.width + GAP for key in keys)
