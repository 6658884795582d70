"""Named specs to start from, one JSON file each, and the embedded model and data that `nano` trains on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.errors import SpecError
from engine.spec import Spec

EMBEDDED = "embedded:nano"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


class Preset(Struct, frozen=True):
    """A spec to start from and what it is good for."""

    description: str
    spec: Spec


@cache
def presets() -> dict[str, Preset]:
    """Every preset by name."""
    files = sorted(Path(__file__).parent.glob("*.json"))
    return {file.stem: msgspec.json.decode(file.read_bytes(), type=Preset) for file in files}


def load_preset(name: str) -> Preset:
    """The preset called `name`; raises SpecError if there is none, naming those there are."""
    try:
        return presets()[name]
    except KeyError:
        raise SpecError(f"there is no preset {name!r}: choose one of {', '.join(presets())}") from None


def embedded_model() -> Path:
    """Directory of the embedded base model."""
    return ASSETS / "nano"


def embedded_data() -> Path:
    """The embedded instruction rows."""
    return ASSETS / "nano_instructions.jsonl"
