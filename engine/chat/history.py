"""Conversations as files in the workspace: kept, read again, and made into training examples."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine.chat.conversation import Chat
from engine.errors import LoratuiError, StoreError, reason_of
from engine.files.atomic import NoPlainFile, link_or_copy, read_plain, sync, temporary_file, write_atomically
from engine.files.paths import FILE_MODE, Workspace
from engine.text.redact import redact

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
EXAMPLES = "examples.jsonl"
MAX_BYTES = 64 * 1024 * 1024
LISTED = 200
_decoder = msgspec.json.Decoder(Chat)


class SavedChat(Struct, frozen=True):
    """A conversation that was found in a file: its path, and what is in it or a sentence on why that cannot be read."""

    path: Path
    conversation: Chat | None
    problem: str = ""


def check_name(name: str) -> None:
    """Raise LoratuiError for what is no name for a conversation."""
    if not NAME.fullmatch(name) or name != name.strip():
        raise LoratuiError(
            f"a conversation cannot be called {name!r}: use letters, digits, spaces, '.', '-' and '_', a letter or "
            f"digit first"
        )


def default_name(conversation: Chat) -> str:
    """`20261126-105730-round-3`, by when it began and with whom."""
    numbers = "-".join(str(item.number) for item in conversation.speakers if item.number is not None)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(conversation.created))}-round-{numbers}"


class Keeper:
    """Keeps one conversation in a file as it goes on; not from two threads at once.

    The file is its own: it is replaced only while it holds what was last written or read here, and no other file ever
    is. Tokens and passwords are left out of it, as from all that is written down.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path: Path | None = None
        self._digest = b""

    @property
    def name(self) -> str:
        """What its file is called, "" while there is none."""
        return self._path.stem if self._path is not None else ""

    def read(self, path: Path) -> Chat:
        """The conversation in a file, which is then its own; raises LoratuiError as `read_conversation`."""
        data, conversation = _read(path)
        self._path, self._digest = path, hashlib.sha256(data).digest()
        return conversation

    def keep(self, conversation: Chat, name: str = "") -> Path:
        """Write it, under `name` from now on if that is given; returns the file.

        Raises:
            StoreError: the name is none or is taken, it is too long, or the disk refuses; what was kept is kept.
        """
        data = _encode(conversation)
        if name:
            check_name(name)
        try:
            return self._write(data, name or self.name or default_name(conversation), bool(name))
        except OSError as error:
            directory = self._workspace.conversations_dir
            raise StoreError(f"the conversation is not kept in {directory}: {reason_of(error)}") from error

    def _write(self, data: bytes, name: str, wanted: bool) -> Path:
        directory = make_directory(self._workspace)
        own = self._path if self._path is not None and self._is_own(self._path) else None
        path = directory / f"{name}.json"
        if own is None or own != path:
            path = _write_new(path, data, wanted)
            if own is not None:
                own.unlink()
        else:
            write_atomically(path, data)
        self._path, self._digest = path, hashlib.sha256(data).digest()
        return path

    def _is_own(self, path: Path) -> bool:
        try:
            return hashlib.sha256(read_plain(path, max_bytes=MAX_BYTES)).digest() == self._digest
        except (OSError, NoPlainFile):
            return False


def make_directory(workspace: Workspace) -> Path:
    """Where conversations lie, made if need be; raises OSError if it cannot be, or is a link."""
    directory = workspace.conversations_dir
    directory.mkdir(mode=0o750, exist_ok=True)
    if directory.is_symlink():
        raise StoreError(f"{directory} is a link, which is never followed: put what it leads to in its place")
    return directory


def _write_new(path: Path, data: bytes, wanted: bool) -> Path:
    """Write a file that was not there; where the name is not exactly what is `wanted`, the next that is free."""
    for number in range(1, 1000):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}.json")
        with temporary_file(free, [data]) as temporary:
            try:
                link_or_copy(temporary, free)
            except FileExistsError:
                if wanted:
                    raise StoreError(f"there is a conversation {path.stem!r} already: choose another name") from None
                temporary.unlink(missing_ok=True)
                continue
            temporary.unlink()
        sync(path.parent)
        return free
    raise StoreError(f"{path} and a thousand like it are there already: move some away")


def _encode(conversation: Chat) -> bytes:
    data = msgspec.json.format(_to_json(msgspec.to_builtins(conversation)), indent=1) + b"\n"
    if len(data) > MAX_BYTES:
        raise StoreError(f"the conversation has more than {MAX_BYTES // 1024**2} MiB, too many to keep: begin anew")
    return data


def _to_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(_redacted(value))
    except UnicodeEncodeError as error:
        raise StoreError(f"{error.object!r} is not valid UTF-8 text: it cannot be written to a file") from error


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list | tuple) else value


def _read(path: Path) -> tuple[bytes, Chat]:
    try:
        data = read_plain(path, max_bytes=MAX_BYTES)
        conversation = _decoder.decode(data)
        if len({item.key for item in conversation.speakers}) < len(conversation.speakers):
            raise NoPlainFile("a speaker is in it twice")
        return data, conversation
    except OSError as error:
        raise LoratuiError(f"the conversation {path} cannot be read: {reason_of(error)}") from error
    except (NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoratuiError(
            f"the conversation {path} does not hold together ({error}): correct it, or move it away"
        ) from error


def find_conversations(workspace: Workspace) -> list[SavedChat]:
    """The conversations of a workspace, the latest changed first, at most `LISTED`; the broken ones say why.

    Raises:
        LoratuiError: the directory cannot be read.
    """
    try:
        entries = [item for item in os.scandir(workspace.conversations_dir) if _is_listed(item)]
        entries.sort(key=lambda item: item.stat(follow_symlinks=False).st_mtime, reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LoratuiError(f"{workspace.conversations_dir} cannot be read: {reason_of(error)}") from error
    return list(_kept(Path(entry.path) for entry in entries[:LISTED]))


def _is_listed(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".json") and not entry.name.startswith(".")


def _kept(paths: Iterable[Path]) -> Iterable[SavedChat]:
    for path in paths:
        try:
            yield SavedChat(path, _read(path)[1])
        except LoratuiError as error:
            yield SavedChat(path, None, error.message)


def append_example(path: Path, conversation: Chat, key: str) -> None:
    """Append one speaker's side to a JSON lines file, as a row in the form of `messages`.

    It is one write, behind what is there whatever that ends with; a file that is not there is made.

    Raises:
        LoratuiError: there is nothing in it to learn, or the file cannot be written.
    """
    messages = conversation.example_of(key)
    if not messages:
        raise LoratuiError(f"{conversation.speaker(key).called} has said nothing yet that could be learned")
    row = _to_json({"messages": msgspec.to_builtins(messages)}) + b"\n"
    try:
        _append(path, row)
    except OSError as error:
        raise LoratuiError(f"the example could not be written to {path}: {reason_of(error)}") from error


def _append(path: Path, row: bytes) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LoratuiError(f"the example could not be written to {path}: it is no file")
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            row = b"\n" + row
        if (written := os.write(descriptor, row)) < len(row):  # a full disk takes what fits: it is taken back
            if os.fstat(descriptor).st_size == status.st_size + written:
                os.ftruncate(descriptor, status.st_size)
            raise LoratuiError(f"the example could not be written to {path}: there is no room left on the disk")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
