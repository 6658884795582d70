"""A spec's changes as the command line takes them: `--set KEY=VALUE`, written to be pasted and read from what is."""

from __future__ import annotations

import shlex
from typing import Any

from msgspec import Struct

from engine.errors import SpecError
from engine.spec.fields import build_spec, changed_keys, flatten, format_value, parse_value, spec_fields
from engine.spec.schema import Spec

COMMANDS = ("loratui new", "loratui run", "loratui preview")
TAKEN = {"--set": "settings", "--name": "name", "--note": "note"}
WITHOUT_VALUE = frozenset({"--json", "--hold"})


class PastedLine(Struct, frozen=True):
    """What a line says: fields by their keys as text, a name and a note if it has them, and what is of no use here."""

    settings: dict[str, str]
    name: str | None = None
    note: str | None = None
    left_out: tuple[str, ...] = ()


def set_line(spec: Spec, base: Spec) -> str:
    """`--set` for each field in which `spec` differs from `base`, quoted for a shell; "" if there is none."""
    return set_words(flatten(spec), changed_keys(base, spec))


def set_words(values: dict[str, object], keys: list[str]) -> str:
    """`--set` for each of `keys` with its value, quoted for a shell."""
    return " ".join(f"--set {shlex.quote(f'{key}={format_value(values[key])}')}" for key in keys)


def is_set_line(text: str) -> bool:
    """Whether a text is meant as a line of settings rather than as a value."""
    return text.lstrip().startswith(("--set ", "--set=", *COMMANDS))


def read_set_line(text: str) -> PastedLine:
    """The settings in a line, which may be a whole command, go over several lines, and quote as in a shell.

    Raises:
        SpecError: it is no such line, or names a field that does not exist.
    """
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "))
    except ValueError as error:
        raise SpecError(f"the pasted line cannot be read ({error}): copy it whole, with its quotes") from error
    if " ".join(words[:2]) in COMMANDS:
        words = words[2:]
    found: dict[str, list[str]] = {"settings": [], "name": [], "note": []}
    left_out: list[str] = []
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option not in TAKEN and (option in WITHOUT_VALUE or equals or not option.startswith("-")):
            left_out.append(f"{option}{equals}{value}")
            continue
        if not equals:
            if not words:
                raise SpecError(f"the pasted line ends after {option}: copy it whole")
            value = words.pop(0)
        if option in TAKEN:
            found[TAKEN[option]].append(value)
        else:
            left_out.append(f"{option} {value}")
    name, note = (found[part][-1] if found[part] else None for part in ("name", "note"))
    return PastedLine(dict(map(_key_and_text, found["settings"])), name, note, tuple(left_out))


def _key_and_text(setting: str) -> tuple[str, str]:
    key, equals, text = setting.partition("=")
    if not equals:
        raise SpecError(f"the pasted line has --set {setting!r}, which sets nothing: --set takes KEY=VALUE")
    if key.strip() not in spec_fields():
        raise SpecError(f"the pasted line sets {key!r}, and there is no such field: it was left as it is")
    return key.strip(), text


def spec_from_settings(base: Spec | None, settings: list[str]) -> Spec:
    """`base` (the defaults if None) with `KEY=VALUE` settings applied, later ones winning.

    Raises:
        SpecError: a setting without `=`, an unknown key, a value that is not allowed, no model or data named.
    """
    values: dict[str, Any] = flatten(base) if base is not None else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise SpecError(f"--set takes KEY=VALUE, for example --set lora.r=16, not {setting!r}")
        values[key.strip()] = parse_value(key.strip(), text)
    return build_spec(values)
