"""The actions that keys do on a screen now, for help and palette, with the keys of the keymap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct
from textual.app import App
from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.keys import REPLACED_KEYS, Keys, _character_to_key, key_to_character
from textual.screen import Screen
from textual.widget import Widget

MODIFIERS = re.compile(r"((?:ctrl|shift|alt|super|meta)\+)*", re.IGNORECASE)
ALIASES = {"esc": "escape", "return": "enter", "pgup": "pageup", "pgdn": "pagedown", "del": "delete"}
KEY_ID = re.compile(r"\{([\w.]+)\}")
THIS_SCREEN = "This screen"
LEAVES_A_LAYER = "escape"  # it closes the innermost layer, so several bindings may share it
NAMED_KEYS = frozenset(key.value for key in Keys)


class Action(Struct, frozen=True):
    """An action that a key does. `where` names its screen or widget in words; `keys` are as Textual writes them."""

    where: str
    node: DOMNode
    binding: Binding
    keys: tuple[str, ...]
    enabled: bool

    @property
    def explained(self) -> str:
        return self.binding.tooltip or self.binding.description

    def shown_keys(self, app: App[Any]) -> str:
        """Return the keys as the footer shows them."""
        return " ".join(app.get_key_display(self.binding.with_key(key, key_display=None)) for key in self.keys)


def actions_on(screen: Screen[object]) -> list[Action]:
    """Return all actions that keys do on `screen` now: its own, then those of the focused and of other widgets.

    The keys are those of the keymap. Actions that `check_action` hides are left out; refused ones are not `enabled`.
    """
    actions = []
    for where, node in _nodes_of(screen):
        for binding, keys in _keys_of(node, keymap_of(screen)):
            state = screen.app._check_action_state(binding.action, node)
            if state is not False:
                actions.append(Action(where, node, binding, keys, enabled=bool(state)))
    return sorted(actions, key=lambda action: action.where != THIS_SCREEN)


def keymap_of(screen: Screen[Any]) -> Mapping[str, str]:
    """Return the keymap of our app: keys, separated by commas, by the id of a binding."""
    keymap: Mapping[str, str] = getattr(screen.app, "keymap", {})
    return keymap


@runtime_checkable
class Refusing(Protocol):
    """A node that says why it does not do an action now.

    `why_not` returns "" if it does; in the sentence, the id of a binding in braces stands for its key.
    """

    def why_not(self, action: str, parameters: tuple[object, ...]) -> str: ...


def refusal_of(app: App[Any], key: str) -> str:
    """Return a sentence on why `key` does nothing on the screen now; "" if it does something, or has no action."""
    for namespace, bindings in app.screen._modal_binding_chain:
        for binding in bindings.key_to_bindings.get(key, ()):
            if binding.system or not app.screen.is_mounted:
                continue
            target, action, parameters = app._parse_action(binding.action, namespace)
            if target.check_action(action, parameters):
                return ""
            reason = target.why_not(action, parameters) if isinstance(target, Refusing) else ""
            if reason:
                return KEY_ID.sub(lambda match: key_of(app.screen, match[1]), reason)
            return f"{app.get_key_display(binding)} ({binding.description}) does nothing here now"
    return ""


def key_of(screen: Screen[Any], name: str) -> str:
    """Return the first key of the binding with the id `name` on `screen`, as the footer shows it."""
    for node in (*(node for _, node in _nodes_of(screen)), screen.app):
        for binding, keys in _keys_of(node, keymap_of(screen)):
            if binding.id == name:
                return screen.app.get_key_display(binding.with_key(keys[0], key_display=None))
    return name


def clashes_on(screen: Screen[object], keymap: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each binding, by id, whose key in `keymap` is used by another binding on `screen`."""
    nodes = [(node, _keys_of(node, keymap)) for _, node in _nodes_of(screen)]
    clashes: dict[str, str] = {}
    for node, bindings in nodes:
        for binding, keys in bindings:
            if binding.id is None or binding.id not in keymap:
                continue
            if binding.priority and any(map(character_of, keys)):
                clashes[binding.id] = (
                    f"config.toml gives keys.{binding.id} the key {keymap[binding.id]!r}, which is text in the fields "
                    f"of this screen, so the action keeps its own key: choose one with ctrl"
                )
                continue
            for other_node, other_bindings in nodes:
                if other_node is not node and _is_pane(other_node) and _is_pane(node):
                    continue  # they never have the focus at the same time
                for other, theirs in other_bindings:
                    both = [key for key in keys if key in theirs and key != LEAVES_A_LAYER]
                    alike = other.description == binding.description  # such as full screen, of a pane and of a screen
                    if other.id != binding.id and both and not alike:
                        clashes[binding.id] = (
                            f"config.toml gives keys.{binding.id} the key {both[0]!r}, which keys.{other.id} has "
                            f"({other.description}), so the action keeps its own key: choose another"
                        )
    return clashes


def _is_pane(node: DOMNode) -> bool:
    return isinstance(node, Widget) and not isinstance(node, Screen)


def by_id(bindings: BindingsMap) -> list[tuple[Binding, tuple[str, ...]]]:
    """Return the bindings that have an id, each once, with all its keys."""
    keys: dict[str, list[str]] = {}
    first: dict[str, Binding] = {}
    for key, binding in bindings:
        if binding.id is not None:
            first.setdefault(binding.id, binding)
            if key not in keys.setdefault(binding.id, []):
                keys[binding.id].append(key)
    return [(binding, tuple(keys[name])) for name, binding in first.items()]


def _keys_of(node: DOMNode, keymap: Mapping[str, str]) -> list[tuple[Binding, tuple[str, ...]]]:
    """Return a node's bindings, with the keys of `keymap` where it names them; two can then have the same key."""
    return [
        (binding, tuple(keymap[binding.id].split(",")) if binding.id in keymap else keys)
        for binding, keys in by_id(node._bindings)
        if binding.id is not None
    ]


def _nodes_of(screen: Screen[object]) -> Iterator[tuple[str, DOMNode]]:
    """Yield the nodes that have keys: widgets, each class once and the focused first, then the screen and the app."""
    focused = screen.focused.ancestors_with_self if screen.focused is not None else []
    widgets = [*focused, *screen.query("*").results(Widget)]
    classes: set[type[DOMNode]] = set()
    for node in [*filter(_is_pane, widgets), screen]:
        if type(node) not in classes and type(node).__module__.startswith("tui."):
            classes.add(type(node))
            if by_id(node._bindings):
                yield (THIS_SCREEN if node is screen else f"In the {in_words(type(node))}"), node
    if not screen.is_modal:
        yield "Everywhere", screen.app


def in_words(kind: type[DOMNode]) -> str:
    """Return the name of a class as words: `RoundTable` becomes `round table`."""
    if issubclass(kind, App):
        return "everywhere"
    return " ".join(re.findall("[A-Z][a-z0-9]*", kind.__name__)).lower()


def readable(keymap: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return a person's keymap with Textual's key names, and a sentence for each text that is not a key."""
    with_names, problems = {}, []
    for name, text in keymap.items():
        keys = [key_name(key) for key in text.split(",")] if text != "," else ["comma"]
        if None in keys:
            problems.append(
                f"config.toml gives keys.{name} {text!r}, which is not a key: `loratui keys` shows how keys are written"
            )
        else:
            with_names[name] = ",".join(key for key in keys if key)
    return with_names, problems


def character_of(key: str) -> str:
    """Return the printable character that a key types; "" for none and for space."""
    character = key_to_character(REPLACED_KEYS.get(key, key)) or ""
    return character if character.isprintable() and character.strip() else ""


def key_name(text: str) -> str | None:
    """Return a key as Textual writes it, from `?`, `Ctrl+S`, `esc` or `shift+up`; None if `text` is not a key."""
    modifiers = MODIFIERS.match(text)
    prefix, rest = text[: modifiers.end()].lower() if modifiers else "", text[modifiers.end() :] if modifiers else text
    if len(rest) == 1:
        return prefix + (_character_to_key(rest.lower() if prefix and prefix != "shift+" else rest))
    named = ALIASES.get(rest.lower(), rest.lower())
    if prefix + named in NAMED_KEYS or named in NAMED_KEYS or re.fullmatch(r"f[0-9]{1,2}", named):
        return prefix + named
    return rest if not prefix and rest.isidentifier() and character_of(rest) else None
