"""Further sources of training rows: what the text of `data.mix` means."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Struct

from engine.errors import DatasetError, LoratuiError, SpecError
from engine.spec.data import DataSpec
from engine.spec.local_paths import looks_local, split_revision

WEIGHT = r"(?P<weight>\d+(?:\.\d+)?)\s*\*"
SOURCE = re.compile(rf"\s*(?:{WEIGHT})?\s*(?P<place>(?!\d+(?:\.\d+)?\s*\*)\S.*?)(?:\[:(?P<samples>\d+)\])?\s*")
FIRST_KEY = re.compile(r"^data\.(name|split|revision|samples)\b")
MOST = 1000  # repetitions of a row


class Source(Struct, frozen=True):
    """One source of `data.mix`, written `WEIGHT*PATH@REVISION:NAME:SPLIT[:SAMPLES]`; only the path is required.

    Attributes:
        weight: how often its rows are trained on in an epoch; with 0.5, half of them are.
    """

    path: str
    name: str | None = None
    split: str | None = None
    samples: int | None = None
    weight: float = 1.0
    revision: str | None = None

    def __str__(self) -> str:
        parts = [self.path + (f"@{self.revision}" if self.revision else "")]
        if self.name or self.split:
            parts.append(self.name or "")
        if self.split:
            parts.append(self.split)
        weight = f"{self.weight:g}*" if self.weight != 1 else ""
        return weight + ":".join(parts) + (f"[:{self.samples}]" if self.samples is not None else "")

    def times(self, rows: int) -> int:
        """Return how many rows of an epoch come from `rows` rows to train on, at least one if there are any."""
        return max(1, round(self.weight * rows)) if rows else 0


def sources_of(data: DataSpec) -> tuple[Source, ...]:
    """Return the sources of `data.mix`; raises SpecError for one that cannot be read."""
    return tuple(_read_source(text) for text in data.mix.split(",")) if data.mix else ()


def _read_source(text: str) -> Source:
    match = SOURCE.fullmatch(text)
    weight = float(match["weight"] or 1) if match else 0
    samples = int(match["samples"]) if match and match["samples"] else None
    if match is None or not 0 < weight <= MOST or (samples is not None and samples < 2):
        raise SpecError(
            f"data.mix has {text.strip()!r}: it must be a path or hub name such as 0.5*openai/gsm8k:main:train[:1000], "
            f"with a weight above 0 and at most {MOST}, and at least 2 rows",
            "data.mix",
        )
    place = match["place"]
    name, split = "", ""
    if not looks_local(place):
        place, _, rest = place.partition(":")
        name, _, split = rest.partition(":")
    path, revision = split_revision(place)
    return Source(path, name or None, split or None, samples, weight, revision)


def with_mixed_paths(mix: str | None, change: Callable[[str], str]) -> str | None:
    """Return a valid text of `data.mix` with each path changed; one that cannot be read stays as it is."""
    try:
        sources = sources_of(DataSpec("-", mix=mix))
    except SpecError:
        return mix
    return ", ".join(str(msgspec.structs.replace(source, path=change(source.path))) for source in sources) or None


def as_data(source: Source, data: DataSpec) -> DataSpec:
    """Return the rows of a source as data to be read; `data.revision` is also that of another part of its dataset."""
    return data.of_one_set(
        path=source.path,
        name=source.name,
        split=source.split,
        samples=source.samples,
        revision=source.revision or (data.revision if source.path == data.path else None),
    )


def name_mix(error: LoratuiError) -> LoratuiError:
    """Return an error of reading a source with `data.mix` in it instead of the fields of the first source."""
    message = FIRST_KEY.sub(r"data.mix: \1", error.message)
    if message.startswith("data.path is "):
        message = message.replace("data.path is", "data.mix has", 1)
    if isinstance(error, SpecError):
        return SpecError(message, "data.mix")
    return DatasetError(message) if isinstance(error, DatasetError) else error
