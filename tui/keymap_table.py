"""The table of all actions and their keys: `loratui keys` prints it, and a config file may change the keys."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from tui.settings.bindings import by_id, character_of, in_words

Row = tuple[str, Binding, tuple[str, ...]]


def all_kinds(app: type[DOMNode]) -> list[type[DOMNode]]:
    """Return the app's class, then every screen and widget of ours that has keys; imports them all."""
    import tui.screens
    import tui.widgets

    for package in (tui.screens, tui.widgets):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    widgets = (kind for kind in _with_keys(Widget) if not issubclass(kind, Screen))
    return [app, *_with_keys(Screen), *widgets]


def _with_keys(base: type[DOMNode]) -> list[type[DOMNode]]:
    """Return our subclasses of `base` that define BINDINGS with ids, sorted by module."""
    kinds: set[type[DOMNode]] = set()
    rest = [base]
    while rest:
        kind = rest.pop()
        if kind.__module__.startswith("tui.") and by_id(BindingsMap(kind.__dict__.get("BINDINGS", []))):
            kinds.add(kind)
        rest += kind.__subclasses__()
    return sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__))


def table_of_keys(app: type[DOMNode]) -> list[Row]:
    """Return a row for each action: where it works, its binding, its default keys; each id once."""
    ids: set[str] = set()
    table = []
    for kind in all_kinds(app):
        for binding, keys in by_id(BindingsMap(kind.__dict__.get("BINDINGS", []))):
            if binding.id not in ids:
                ids.add(binding.id or "")
                table.append((in_words(kind), binding, keys))
    return table


def as_config(table: Iterable[Row]) -> str:
    """Return the table as `[keys]` of `config.toml`; a comment at the end of each line says what the key does."""
    lines, section = ["[keys]"], ""
    rows = [(where, f"{binding.id} = {_toml(keys)}", binding) for where, binding, keys in table]
    width = max(len(text) for _, text, _ in rows)
    for where, text, binding in rows:
        if where != section:
            section = where
            lines.append(f"\n# {where}")
        lines.append(f"{text:{width}}  # {binding.tooltip or binding.description}")
    return "\n".join(lines)


def _toml(keys: tuple[str, ...]) -> str:
    quoted = [json.dumps(as_typed(key), ensure_ascii=False) for key in keys]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def as_typed(key: str) -> str:
    """Return a key as people write it: `?` for `question_mark`."""
    return character_of(key) or key


def unknown_ids(app: type[DOMNode], keymap: Mapping[str, str]) -> list[str]:
    """Return a sentence for each id in `keymap` that no action has; slow, as it imports every screen."""
    all_ids = {binding.id for _, binding, _ in table_of_keys(app)}
    return [
        f"config.toml sets keys.{name}, but no action has this name: `loratui keys` lists all actions"
        for name in keymap
        if name not in all_ids
    ]
