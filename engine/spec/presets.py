"""Named specs to start from, one JSON file each, and the embedded model and data that `nano` trains on."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_config_path

from engine.errors import LoratuiError, SpecError
from engine.files.atomic import NoPlainFile, read_plain, write_atomically
from engine.spec.schema import Spec
from engine.text.redact import holds_secret

PRESET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PRESET_BYTES = 1024 * 1024
EMBEDDED = "embedded:nano"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


class Preset(Struct, frozen=True):
    """A spec to start from and what it is good for."""

    description: str
    spec: Spec


@cache
def shipped_presets() -> dict[str, Preset]:
    """The presets that come with loratui, by name."""
    files = sorted((ASSETS / "presets").glob("*.json"))
    return {file.stem: msgspec.json.decode(file.read_bytes(), type=Preset) for file in files}


def presets_dir() -> Path:
    """Where a person's own presets lie."""
    return user_config_path("loratui") / "presets"


def presets() -> dict[str, Preset]:
    """Every preset by name: those that come with loratui, then the person's own that can be read."""
    return shipped_presets() | _own_presets()[0]


def broken_presets() -> list[str]:
    """A sentence on each of the person's own presets that cannot be read."""
    return _own_presets()[1]


def load_preset(name: str) -> Preset:
    """The preset called `name`; raises SpecError if there is none, naming those there are, or if it is broken."""
    found = presets()
    if name in found:
        return found[name]
    if PRESET_NAME.fullmatch(name) and os.path.lexists(file := presets_dir() / f"{name}.json"):
        _read_own(file)
    raise SpecError(f"there is no preset {name!r}: choose one of {', '.join(found)}")


def check_preset_name(name: str) -> None:
    """Raise SpecError for a name that is none, or that of a preset that comes with loratui."""
    if not PRESET_NAME.fullmatch(name):
        raise SpecError(
            f"a preset cannot be called {name!r}: use letters, digits, '.', '-' and '_', at most 64, a letter or digit "
            f"first"
        )
    if name in shipped_presets():
        raise SpecError(f"{name} is a preset that comes with loratui and stays as it is: choose another name")


def save_preset(name: str, preset: Preset, *, replace: bool = False) -> Path:
    """Keep `preset` under `name`; returns its file. What is there under that name is overwritten if `replace`.

    Raises:
        SpecError: the name is none, or is taken; a token or password stands in the preset.
        LoratuiError: the disk refuses.
    """
    check_preset_name(name)
    file = presets_dir() / f"{name}.json"
    if os.path.lexists(file) and not replace:
        raise SpecError(f"there is a preset {name} already: choose another name")
    document = msgspec.json.format(msgspec.json.encode(preset), indent=2)
    if holds_secret(document.decode()):
        raise SpecError("a token or a password stands in the preset: take it out, and set it in the environment")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, document + b"\n")
    except OSError as error:
        raise LoratuiError(
            f"{file} could not be written ({error.strerror}): see that there is room and that you may write there"
        ) from error
    return file


def _own_presets() -> tuple[dict[str, Preset], list[str]]:
    found: dict[str, Preset] = {}
    broken: list[str] = []
    for file in sorted(presets_dir().glob("*.json")):
        try:
            check_preset_name(file.stem)
            found[file.stem] = _read_own(file)
        except SpecError as error:
            broken.append(f"{file}: {error}" if str(file) not in str(error) else str(error))
    return found, broken


def _read_own(file: Path) -> Preset:
    try:
        return msgspec.json.decode(read_plain(file, max_bytes=MAX_PRESET_BYTES, follow_link=True), type=Preset)
    except OSError as error:
        raise SpecError(f"the preset {file} cannot be read ({error.strerror}): correct or delete it") from error
    except (NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"the preset {file} does not hold together: {error}: correct or delete it") from error


def embedded_model() -> Path:
    """Directory of the embedded base model."""
    return ASSETS / "nano"


def embedded_data() -> Path:
    """The embedded instruction rows."""
    return ASSETS / "nano_instructions.jsonl"
