"""Write changes of a spec as `--set KEY=VALUE` for the command line, and read them from it or from pasted text."""

from __future__ import annotations

import shlex
from typing import Any

from msgspec import Struct

from engine.errors import SpecError
from engine.spec.fields import build_spec, changed_keys, flatten, format_value, parse_value, spec_fields
from engine.spec.schema import Spec

COMMANDS = ("loratui new", "loratui run", "loratui preview")
OPTIONS = {"--set": "settings", "--name": "name", "--note": "note"}
# Names that others use, with the key of the same setting here.
OTHER_NAMES = {"train.warmup_ratio": "train.warmup_steps", "train.evaluation_strategy": "train.eval_strategy"}
RATIO = "train.warmup_ratio"
WITHOUT_VALUE = frozenset({"--json", "--hold"})


class PastedLine(Struct, frozen=True):
    """A pasted line: the texts of fields by their keys, its name and note if any, and the parts not used here."""

    settings: dict[str, str]
    name: str | None = None
    note: str | None = None
    left_out: tuple[str, ...] = ()


def set_line(spec: Spec, base: Spec) -> str:
    """Write `--set` for each field in which `spec` differs from `base`, quoted for a shell; "" without any."""
    return set_words(flatten(spec), changed_keys(base, spec))


def set_words(values: dict[str, object], keys: list[str]) -> str:
    """Write `--set` for each of `keys` with its value, quoted for a shell."""
    return " ".join(f"--set {shlex.quote(f'{key}={format_value(values[key])}')}" for key in keys)


def is_set_line(text: str) -> bool:
    """Return True if a text looks like a line of settings rather than a value."""
    return text.lstrip().startswith(("--set ", "--set=", *COMMANDS))


def read_set_line(text: str) -> PastedLine:
    """Read the settings in a line, which may be a whole command, span several lines, and be quoted as in a shell.

    Raises:
        SpecError: the text is not such a line, or names an unknown field.
    """
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "))
    except ValueError as error:
        raise SpecError(f"the pasted line cannot be read ({error}): copy it whole, with its quotes") from error
    if " ".join(words[:2]) in COMMANDS:
        words = words[2:]
    values: dict[str, list[str]] = {"settings": [], "name": [], "note": []}
    left_out: list[str] = []
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option not in OPTIONS and (option in WITHOUT_VALUE or equals or not option.startswith("-")):
            left_out.append(f"{option}{equals}{value}")
            continue
        if not equals:
            if not words:
                raise SpecError(f"the pasted line ends after {option}: copy it whole")
            value = words.pop(0)
        if option in OPTIONS:
            values[OPTIONS[option]].append(value)
        else:
            left_out.append(f"{option} {value}")
    name, note = (values[part][-1] if values[part] else None for part in ("name", "note"))
    return PastedLine(dict(map(_key_and_text, values["settings"])), name, note, tuple(left_out))


def _key_and_text(setting: str) -> tuple[str, str]:
    key, equals, text = setting.partition("=")
    if not equals:
        raise SpecError(f"the pasted line has --set {setting!r}, which sets no field: --set takes KEY=VALUE")
    if _own_key(key.strip(), text) not in spec_fields():
        raise SpecError(f"the pasted line sets {key!r}, which is not a field: nothing was changed")
    return _own_key(key.strip(), text), text


def _own_key(key: str, text: str) -> str:
    """Return the key that a setting has here; raises SpecError for a `warmup_ratio` that would be read as steps."""
    if key == RATIO and parse_value(OTHER_NAMES[key], text) >= 1:
        raise SpecError(f"{key} is {text!r}: it must be below 1, a share of all steps", OTHER_NAMES[key])
    return OTHER_NAMES.get(key, key)


def split_setting(setting: str) -> tuple[str, str]:
    """Return the key and the text of `KEY=VALUE`, the key as it is spelled here.

    Raises:
        SpecError: there is no `=`.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise SpecError(f"--set takes KEY=VALUE, for example --set lora.r=16, not {setting!r}")
    return _own_key(key.strip(), text), text


def spec_from_settings(base: Spec | None, settings: list[str]) -> Spec:
    """Apply `KEY=VALUE` settings to `base` (to the defaults if None); later settings win.

    Raises:
        SpecError: a setting without `=`, an unknown key, a value that is not allowed, or no model or data.
    """
    values: dict[str, Any] = flatten(base) if base is not None else {}
    for key, text in map(split_setting, settings):
        values[key] = parse_value(key, text)
    return build_spec(values)
