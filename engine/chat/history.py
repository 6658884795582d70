"""Conversations as files in the workspace: saved, read again, and made into training examples."""

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
from engine.errors import ConversationError, FileError, StoreError, reason_of
from engine.files.append import open_to_append
from engine.files.atomic import NoPlainFile, link_or_copy, read_plain, sync, temporary_file, write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import Workspace
from engine.text.redact import redact

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
EXAMPLES = "examples.jsonl"
MAX_BYTES = 64 * 1024 * 1024
LISTED = 200
_decoder = msgspec.json.Decoder(Chat)


class SavedChat(Struct, frozen=True):
    """A conversation in a file: its path, and the conversation or a sentence on why it cannot be read."""

    path: Path
    conversation: Chat | None
    problem: str = ""


def check_name(name: str) -> None:
    """Raise ConversationError if a conversation cannot have this name."""
    if not NAME.fullmatch(name) or name != name.strip():
        raise ConversationError(
            f"a conversation cannot be called {name!r}: use letters, digits, spaces, '.', '-' and '_', a letter or "
            f"digit first"
        )


def default_name(conversation: Chat) -> str:
    """Return `20261126-105730-round-3`: when the conversation began, and with which rounds."""
    numbers = "-".join(str(speaker.number) for speaker in conversation.speakers if speaker.number is not None)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(conversation.created))}-round-{numbers}"


class ChatFile:
    """The file of one conversation, saved again and again; not from two threads at once.

    It overwrites only its own file, and only while that holds what this object last wrote or read. Tokens and passwords
    are redacted, as in every file.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._path: Path | None = None
        self._digest = b""

    @property
    def name(self) -> str:
        """The file's name without its ending, "" while there is no file."""
        return self._path.stem if self._path is not None else ""

    def read(self, path: Path) -> Chat:
        """Read the conversation in a file, which becomes this object's; raises ConversationError if it is broken."""
        data, conversation = _read(path)
        self._path, self._digest = path, hashlib.sha256(data).digest()
        return conversation

    def save(self, conversation: Chat, name: str = "") -> Path:
        """Write the conversation, under `name` from now on unless that is ""; returns the file.

        Raises:
            ConversationError: the name is not allowed.
            StoreError: the name is in use, the conversation is too large, or the disk refuses; the old file stays.
        """
        data = _encode(conversation)
        if name:
            check_name(name)
        try:
            return self._write(data, name or self.name or default_name(conversation), bool(name))
        except OSError as error:
            directory = self._workspace.conversations_dir
            raise StoreError(f"the conversation could not be saved in {directory}: {reason_of(error)}") from error

    def _write(self, data: bytes, name: str, is_exact: bool) -> Path:
        directory = make_conversations_directory(self._workspace)
        own = self._path if self._path is not None and self._is_own(self._path) else None
        path = directory / f"{name}.json"
        if own is None or own != path:
            path = _write_new(path, data, is_exact)
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


def make_conversations_directory(workspace: Workspace) -> Path:
    """Create the directory of conversations if it is missing; raises OSError, or StoreError if it is a link."""
    directory = workspace.conversations_dir
    make_directory(directory, 0o750)
    if directory.is_symlink():
        raise StoreError(f"{directory} is a link, and links are not followed here: replace it with what it points to")
    return directory


def _write_new(path: Path, data: bytes, is_exact: bool) -> Path:
    """Write a new file; if its name is in use, raise StoreError with `is_exact`, else take the next free name."""
    for number in range(1, 1000):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}.json")
        with temporary_file(free, [data]) as temporary:
            try:
                link_or_copy(temporary, free)
            except FileExistsError:
                if is_exact:
                    raise StoreError(f"there is a conversation {path.stem!r} already: choose another name") from None
                temporary.unlink(missing_ok=True)
                continue
            temporary.unlink()
        sync(path.parent)
        return free
    raise StoreError(f"{path} and a thousand files with similar names exist already: move some away")


def _encode(conversation: Chat) -> bytes:
    data = msgspec.json.format(_to_json(msgspec.to_builtins(conversation)), indent=1) + b"\n"
    if len(data) > MAX_BYTES:
        raise StoreError(
            f"the conversation is larger than {MAX_BYTES // 1024**2} MiB and cannot be saved: start a new one"
        )
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
        if len({speaker.key for speaker in conversation.speakers}) < len(conversation.speakers):
            raise NoPlainFile("it names a speaker twice")
        return data, conversation
    except OSError as error:
        raise ConversationError(f"the conversation {path} cannot be read: {reason_of(error)}") from error
    except (NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConversationError(
            f"the conversation {path} is not valid ({error}): correct it, or move it away"
        ) from error


def find_conversations(workspace: Workspace) -> list[SavedChat]:
    """Read the conversations of a workspace, the latest changed first, at most `LISTED`; broken ones say why.

    Raises:
        ConversationError: the directory cannot be read.
    """
    try:
        entries = [entry for entry in os.scandir(workspace.conversations_dir) if _is_listed(entry)]
        entries.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConversationError(f"{workspace.conversations_dir} cannot be read: {reason_of(error)}") from error
    return list(_read_all(Path(entry.path) for entry in entries[:LISTED]))


def _is_listed(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".json") and not entry.name.startswith(".")


def _read_all(paths: Iterable[Path]) -> Iterable[SavedChat]:
    for path in paths:
        try:
            yield SavedChat(path, _read(path)[1])
        except ConversationError as error:
            yield SavedChat(path, None, error.message)


def append_example(path: Path, conversation: Chat, key: str) -> None:
    """Append one speaker's side to a JSON lines file, as a row with `messages`.

    It is one write, on a line of its own even if the last line has no end; a missing file is created.

    Raises:
        ConversationError: the speaker has not answered yet.
        FileError: the file cannot be written.
    """
    messages = conversation.example_of(key)
    if not messages:
        raise ConversationError(f"{conversation.speaker(key).called} has given no answer yet to learn from")
    row = _to_json({"messages": msgspec.to_builtins(messages)}) + b"\n"
    try:
        _append(path, row)
    except OSError as error:
        raise FileError(f"the example could not be written to {path}: {reason_of(error)}") from error


def _append(path: Path, row: bytes) -> None:
    descriptor = open_to_append(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"the example could not be written to {path}: it is not a file")
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            row = b"\n" + row
        if (written := os.write(descriptor, row)) < len(row):  # a full disk takes only a part: remove it
            if os.fstat(descriptor).st_size == status.st_size + written:
                os.ftruncate(descriptor, status.st_size)
            raise FileError(f"the example could not be written to {path}: the disk is full")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
