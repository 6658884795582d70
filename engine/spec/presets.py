"""Read and save presets, named specs in one JSON file each, and locate the embedded model and data of `nano`."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct
from platformdirs import user_config_path

from engine.errors import FileError, SpecError, reason_of
from engine.files.atomic import NoPlainFile, read_plain, write_atomically
from engine.spec.schema import Spec
from engine.text.redact import holds_secret

PRESET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PRESET_BYTES = 1024 * 1024
EMBEDDED = "embedded:nano"
FIRST = "nano"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


class Preset(Struct, frozen=True):
    """A spec to start from, and a description of its purpose; `source` names the recipe that it follows, if any."""

    description: str
    spec: Spec
    source: str = ""


@cache
def shipped_presets() -> dict[str, Preset]:
    """Return the presets that come with loratui, by name; first the one that trains anywhere."""
    files = sorted((ASSETS / "presets").glob("*.json"), key=lambda file: (file.stem != FIRST, file.stem))
    return {file.stem: msgspec.json.decode(file.read_bytes(), type=Preset) for file in files}


def presets_dir() -> Path:
    """Return the directory of the person's own presets."""
    return user_config_path("loratui") / "presets"


def presets() -> dict[str, Preset]:
    """Return every preset by name: those that come with loratui, then the person's own that can be read."""
    return shipped_presets() | _own_presets()[0]


def broken_presets() -> list[str]:
    """Return a sentence on each of the person's own presets that cannot be read."""
    return _own_presets()[1]


def load_preset(name: str) -> Preset:
    """Return the preset called `name`; raises SpecError if it does not exist (and lists the others) or is broken."""
    by_name = presets()
    if name in by_name:
        return by_name[name]
    if PRESET_NAME.fullmatch(name) and os.path.lexists(file := presets_dir() / f"{name}.json"):
        _read_own(file)
    raise SpecError(f"there is no preset {name!r}: choose one of {', '.join(by_name)}")


def check_preset_name(name: str) -> None:
    """Raise SpecError for a name that is not allowed, or is that of a preset that comes with loratui."""
    if not PRESET_NAME.fullmatch(name):
        raise SpecError(
            f"a preset cannot be called {name!r}: use letters, digits, '.', '-' and '_', at most 64, a letter or digit "
            f"first"
        )
    if name in shipped_presets():
        raise SpecError(f"{name} is a preset that comes with loratui and cannot be changed: choose another name")


def save_preset(name: str, preset: Preset, *, replace: bool = False) -> Path:
    """Save `preset` under `name`, over an existing preset only with `replace`; returns its file.

    Raises:
        SpecError: the name is not allowed or in use, or the preset contains a token or password.
        LoratuiError: the disk refuses.
    """
    check_preset_name(name)
    file = presets_dir() / f"{name}.json"
    if os.path.lexists(file) and not replace:
        raise SpecError(f"there is already a preset {name}: choose another name")
    document = msgspec.json.format(msgspec.json.encode(preset), indent=2)
    if holds_secret(document.decode()):
        raise SpecError("the preset contains a token or a password: remove it, and set it in the environment instead")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, document + b"\n")
    except OSError as error:
        raise FileError(
            f"{file} could not be written ({reason_of(error)}): check the free space and your permissions there"
        ) from error
    return file


def _own_presets() -> tuple[dict[str, Preset], list[str]]:
    own: dict[str, Preset] = {}
    broken: list[str] = []
    for file in sorted(presets_dir().glob("*.json")):
        try:
            check_preset_name(file.stem)
            own[file.stem] = _read_own(file)
        except SpecError as error:
            broken.append(f"{file}: {error}" if str(file) not in str(error) else str(error))
    return own, broken


def _read_own(file: Path) -> Preset:
    try:
        return msgspec.json.decode(read_plain(file, max_bytes=MAX_PRESET_BYTES, follow_link=True), type=Preset)
    except OSError as error:
        raise SpecError(f"the preset {file} cannot be read ({reason_of(error)}): correct or delete it") from error
    except (NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"the preset {file} is not valid: {error}: correct or delete it") from error


def embedded_model() -> Path:
    """Return the directory of the embedded base model."""
    return ASSETS / "nano"


def embedded_data() -> Path:
    """Return the file of the embedded instruction rows."""
    return ASSETS / "nano_instructions.jsonl"
