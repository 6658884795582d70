"""Judgements of pairs of answers: `judgements.jsonl` of a workspace, which is only ever appended to.

Each line is a judgement or retracts one. Any number of processes may write: a line is written whole under a lock, is
forced to disk before it counts, and is removed again if the disk refuses.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from engine.errors import StoreError, reason_of
from engine.files.append import open_to_append
from engine.files.atomic import read_plain, sync

MAX_JUDGEMENTS_BYTES = 256 * 1024 * 1024
Preference = Literal["first", "second", "tie", "skip"]


class Contestant(NamedTuple):
    """One who answers: the round of a run, by its id, or else a base model, by its path."""

    run: str | None
    model: str


class Side(Struct, frozen=True, order=True, omit_defaults=True):
    """One side of a test: the answers of base model `model`, or, with `run`, of that round's adapter after `step`."""

    model: str
    run: str = ""
    step: int = 0

    @property
    def contestant(self) -> Contestant:
        return Contestant(self.run, "") if self.run else Contestant(None, self.model)


class Judgement(Struct, frozen=True, kw_only=True, tag_field="judgement", tag="given"):
    """A judgement.

    Attributes:
        id: names it in a `Retraction`.
        time: in seconds since the epoch.
        prompt: hash of the prompt.
        first, second: the two sides in their sort order.
        first_on_left: whether the first side's answer was on the left.
        seed: decides the order of the prompts and the side on the left, for all judgements of these two sides.
        prompts: number of prompts to judge for these two sides.
    """

    id: str
    time: float
    prompt: str
    first: Side
    second: Side
    first_on_left: bool
    seed: str
    prompts: int
    verdict: Preference


class Retraction(Struct, frozen=True, kw_only=True, tag_field="judgement", tag="retracted"):
    """A line that takes back the judgement of the same id."""

    id: str
    time: float


_decoder: msgspec.json.Decoder[Judgement | Retraction] = msgspec.json.Decoder(Judgement | Retraction)


class Judgements(Struct, frozen=True):
    """The valid judgements in the order of their lines: not retracted, and the last for its prompt and sides.

    `unread` counts the lines that this version does not understand, such as one that a crash cut short.
    """

    valid: tuple[Judgement, ...] = ()
    unread: int = 0


def read_judgements(path: Path) -> Judgements:
    """Read all judgements of a workspace; empty if the file does not exist.

    Raises:
        StoreError: the file cannot be read, or is a link or a directory.
    """
    try:
        data = read_plain(path, max_bytes=MAX_JUDGEMENTS_BYTES)
    except FileNotFoundError:
        return Judgements()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({reason_of(error)}): repair it, or move it away") from error
    lines = [line for line in data.split(b"\n") if line.strip()]
    decoded = [record for line in lines if (record := _decode(line)) is not None]
    return Judgements(_valid(decoded), len(lines) - len(decoded))


def _decode(line: bytes) -> Judgement | Retraction | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _valid(lines: Iterable[Judgement | Retraction]) -> tuple[Judgement, ...]:
    valid: dict[tuple[Side, Side, str], Judgement] = {}
    keys: dict[str, tuple[Side, Side, str]] = {}
    for line in lines:
        if isinstance(line, Judgement):
            key = keys[line.id] = (line.first, line.second, line.prompt)
            valid.pop(key, None)
            valid[key] = line
        elif line.id in keys and (last := valid.get(keys[line.id])) is not None and last.id == line.id:
            del valid[keys[line.id]]
    return tuple(valid.values())


def append_judgement(path: Path, line: Judgement | Retraction) -> None:
    """Add a line and force it to disk.

    Raises:
        StoreError: the disk refuses, or the path is a link or a directory; the file is as it was.
    """
    try:
        _append(path, msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise StoreError(
            f"the judgement could not be written to {path} ({reason_of(error)}): judge again when that is fixed"
        ) from error


def _append(path: Path, line: bytes) -> None:
    descriptor = open_to_append(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # what a crash left of a line stays one by itself
        try:
            _write(descriptor, line)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if not size:
        sync(path.parent)


def _write(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)
