"""What people preferred of two answers to the same prompt: `judgements.jsonl` of a workspace, only ever appended to.

One line is one judgement, or takes one back. Any number of processes may write: each line goes in whole under a lock,
is forced to disk before it counts as given, and is taken out again where the disk refuses.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from engine.errors import StoreError, reason_of
from engine.files.atomic import read_plain, sync
from engine.files.paths import FILE_MODE

MAX_JUDGEMENTS_BYTES = 256 * 1024 * 1024
Preference = Literal["first", "second", "tie", "skip"]


class Contestant(NamedTuple):
    """Who answers: the round of a run, by its id, or else a base model, by its path."""

    run: str | None
    model: str


class Side(Struct, frozen=True, order=True, omit_defaults=True):
    """Whose answers these are: those of base model `model`, or, with `run`, of that round's adapter after `step`."""

    model: str
    run: str = ""
    step: int = 0

    @property
    def contestant(self) -> Contestant:
        return Contestant(self.run, "") if self.run else Contestant(None, self.model)


class Judgement(Struct, frozen=True, kw_only=True, tag_field="judgement", tag="given"):
    """A judgement.

    Attributes:
        id: by which it can be taken back.
        time: in seconds since the epoch.
        prompt: hash of the prompt.
        first, second: the lesser side and the greater, whichever was asked for first.
        first_on_left: where they stood.
        seed: decides the order of the prompts and who stands where, for all judgements of these two sides.
        prompts: how many there are to judge of these two sides.
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
    """The judgement of that id was taken back."""

    id: str
    time: float


_decoder: msgspec.json.Decoder[Judgement | Retraction] = msgspec.json.Decoder(Judgement | Retraction)


class Judgements(Struct, frozen=True):
    """The judgements that stand, in the order they were given: none taken back, and one for a prompt and two sides.

    `unread` counts the lines that this version does not understand, among them what a crash left of one.
    """

    given: tuple[Judgement, ...] = ()
    unread: int = 0


def read_judgements(path: Path) -> Judgements:
    """All judgements of a workspace, none if there is no such file.

    Raises:
        StoreError: it cannot be read, or what has its name is a link or no file.
    """
    try:
        data = read_plain(path, max_bytes=MAX_JUDGEMENTS_BYTES)
    except FileNotFoundError:
        return Judgements()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({reason_of(error)}): put it right, or aside") from error
    lines = [line for line in data.split(b"\n") if line.strip()]
    read = [found for line in lines if (found := _decode(line)) is not None]
    return Judgements(_standing(read), len(lines) - len(read))


def _decode(line: bytes) -> Judgement | Retraction | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _standing(lines: Iterable[Judgement | Retraction]) -> tuple[Judgement, ...]:
    given: dict[tuple[Side, Side, str], Judgement] = {}
    keys: dict[str, tuple[Side, Side, str]] = {}
    for line in lines:
        if isinstance(line, Judgement):
            key = keys[line.id] = (line.first, line.second, line.prompt)
            given.pop(key, None)
            given[key] = line
        elif line.id in keys and (last := given.get(keys[line.id])) is not None and last.id == line.id:
            del given[keys[line.id]]
    return tuple(given.values())


def append_judgement(path: Path, line: Judgement | Retraction) -> None:
    """Add a line and force it to disk.

    Raises:
        StoreError: the disk refuses, or what has the file's name is a link or no file; the file is as it was.
    """
    try:
        _append(path, msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise StoreError(
            f"the judgement could not be written to {path} ({reason_of(error)}): give it again when that is mended"
        ) from error


def _append(path: Path, line: bytes) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
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
