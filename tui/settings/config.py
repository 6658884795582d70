"""Read the settings of a person for all workspaces: `config.toml`, and the theme chosen last."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from platformdirs import user_state_path

from engine.alerts.notify import Notify
from engine.errors import reason_of
from engine.files.atomic import NoPlainFile, read_plain, write_atomically
from engine.files.paths import config_path

MAX_BYTES = 1024 * 1024
DEFAULT_THEME = "loratui-dark"


class Config(Struct, frozen=True):
    """The settings of a person; `theme` is "" for the theme chosen last.

    `keys` maps the id of a binding to its keys, separated by commas. `problems` has a sentence for each setting that is
    not valid; the others apply.
    """

    theme: str = ""
    keys: dict[str, str] = {}
    notify: Notify = Notify()
    problems: tuple[str, ...] = ()


@cache
def config() -> Config:
    """Return the settings, read once; `problems` names what could not be read."""
    return read_config(config_path())


def read_config(path: Path) -> Config:
    """Return the settings in the file `path`; the defaults if it does not exist."""
    try:
        document = tomllib.loads(read_plain(path, max_bytes=MAX_BYTES, follow_link=True).decode())
    except FileNotFoundError:
        return Config()
    except OSError as error:
        return Config(problems=(f"{path} cannot be read: {reason_of(error)}",))
    except (NoPlainFile, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return Config(problems=(f"{path} cannot be read, so the defaults apply: {error}",))
    return _take(document, path)


def _take(document: Mapping[str, Any], path: Path) -> Config:
    """Convert each part alone, so that a mistake in one leaves the others valid."""
    problems: list[str] = []
    settings: dict[str, Any] = {}
    kinds = {"theme": str, "notify": Notify}
    for name, value in document.items():
        try:
            if name == "keys":
                settings["keys"] = dict(_keys(value, problems, path))
            elif name in kinds:
                settings[name] = msgspec.convert(value, kinds[name])
            else:
                problems.append(
                    f"{path} sets {name!r}, which is not a setting: the settings are theme, [keys] and [notify]"
                )
        except msgspec.ValidationError as error:
            problems.append(f"{path}, {name}: {error}")
    return Config(**settings, problems=tuple(problems))


def _keys(table: object, problems: list[str], path: Path) -> Iterator[tuple[str, str]]:
    """Yield binding ids and their keys; TOML reads `rounds.new = "n"` as a table in a table, which means the same."""
    for name, value in _leaves(msgspec.convert(table, dict[str, Any])):
        try:
            keys = msgspec.convert(value, str | list[str])
        except msgspec.ValidationError:
            problems.append(f'{path}, keys.{name}: give a key such as "n", or several in a list')
            continue
        parts = keys.split(",") if isinstance(keys, str) and len(keys) > 1 else [*keys]
        names = [key.strip() or key for key in parts if key]
        if names:
            yield name, ",".join(names)
        else:
            problems.append(f"{path}, keys.{name}: it names no key, so the action keeps its own")


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _theme_path() -> Path:
    return user_state_path("loratui") / "theme"


def remembered_theme() -> str:
    """Return the name of the theme chosen last, "" for none; the app checks that this theme exists."""
    with suppress(OSError, NoPlainFile, UnicodeDecodeError):
        return read_plain(_theme_path(), max_bytes=100).decode().strip()
    return ""


def remember_theme(name: str) -> None:
    """Store the theme for the next start; if it cannot be written, the next start uses the default."""
    with suppress(OSError):
        _theme_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(_theme_path(), name.encode())
