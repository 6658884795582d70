"""What a person has set for all workspaces: `config.toml`, and the theme chosen last."""

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
    """The settings of a person; `theme` is "" where the one chosen last is meant.

    `keys` holds, by the id of a binding, its keys as Textual writes them, commas between. `problems` has a sentence on
    each setting that could not be taken, the others being in force.
    """

    theme: str = ""
    keys: dict[str, str] = {}
    notify: Notify = Notify()
    problems: tuple[str, ...] = ()


@cache
def config() -> Config:
    """The settings, read once; a file that cannot be read, or a part of it, is told in `problems`."""
    return read_config(config_path())


def read_config(path: Path) -> Config:
    """The settings in the file `path`; the defaults if there is none."""
    try:
        document = tomllib.loads(read_plain(path, max_bytes=MAX_BYTES, follow_link=True).decode())
    except FileNotFoundError:
        return Config()
    except OSError as error:
        return Config(problems=(f"{path} cannot be read: {reason_of(error)}",))
    except (NoPlainFile, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return Config(problems=(f"{path} is not read, so nothing in it counts: {error}",))
    return _take(document, path)


def _take(document: Mapping[str, Any], path: Path) -> Config:
    """Each part for itself, so that a mistake in one costs only that one."""
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
    """Binding ids and their keys; `rounds.new = "n"` is a table in a table for TOML, and the same to us."""
    for name, value in _leaves(msgspec.convert(table, dict[str, Any])):
        try:
            wanted = msgspec.convert(value, str | list[str])
        except msgspec.ValidationError:
            problems.append(f'{path}, keys.{name}: give a key such as "n", or several in a list')
            continue
        listed = wanted.split(",") if isinstance(wanted, str) and len(wanted) > 1 else [*wanted]
        keys = [key.strip() or key for key in listed if key]
        if keys:
            yield name, ",".join(keys)
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
    """The theme that was chosen last, "" for none; whether there is one of this name is for the app to say."""
    with suppress(OSError, NoPlainFile, UnicodeDecodeError):
        return read_plain(_theme_path(), max_bytes=100).decode().strip()
    return ""


def remember_theme(name: str) -> None:
    """Keep the theme for the next start; where that cannot be written it is chosen anew."""
    with suppress(OSError):
        _theme_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(_theme_path(), name.encode())
