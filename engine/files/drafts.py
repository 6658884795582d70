"""Keep on disk what a person typed and has not saved, so that neither Esc nor the end of the app loses it.

Each text that is being edited has a file of its own in the person's state directory, so that two apps never write the
same one, and a workspace that is read-only has drafts too. Nothing here applies a draft.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread, Timer
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from platformdirs import user_state_path

from engine.errors import FileError, reason_of
from engine.files.atomic import TEMPORARY, read_plain, write_atomically
from engine.files.paths import Workspace
from engine.text.redact import redact

DELAY_SECONDS = 0.3  # from a key until what it changed is being written
CLOSE_SECONDS = 2.0  # that the end of the app waits for a disk that does not answer
MAX_BYTES = 1024 * 1024  # of one draft
MAX_DRAFTS = 200
MAX_AGE_SECONDS = 90 * 86400.0
STALE_SECONDS = 3600.0  # a temporary file of this age belongs to a process that was killed
NAME = re.compile(r"[0-9a-f]{24}-[0-9a-f]{16}\.json")


class Draft(Struct, frozen=True):
    """Texts that were typed, by the names of their fields, and when.

    `workspace` and `field` say where, such as `note of 0003-1a2b3c4d`; `workspace_id` is the one that moves along.
    """

    workspace: str
    field: str
    texts: dict[str, str]
    time: Annotated[float, Meta(ge=0, le=1e10)]
    name: str = ""  # of its file
    workspace_id: str = ""

    @property
    def clock(self) -> str:
        """Return when it was typed: `17:05`, or `28 November 17:05` if that was not today."""
        then = time.localtime(self.time)
        return time.strftime("%H:%M" if then[:3] == time.localtime()[:3] else "%-d %B %H:%M", then)


_decoder = msgspec.json.Decoder(Draft)


class Drafts:
    """The drafts of one workspace. What is to be kept is written by a thread, `DELAY_SECONDS` after the key.

    Attributes:
        report: takes a sentence on a draft that cannot be written or read, once for each; called in any thread.
    """

    def __init__(self, workspace: Path, identity: Callable[[], str] = str) -> None:
        """`identity` returns what a workspace keeps when it is moved, "" if it has none; it is called in a thread."""
        self._workspace = str(workspace).encode(errors="backslashreplace").decode()  # which may be no UTF-8 text
        self._identity = identity
        self._directory = drafts_path()
        # By the names of files: the draft to write, or None to remove it, and the names of those that it replaces.
        self._waiting: dict[str, tuple[Draft | None, Sequence[str]]] = {}
        self._timer: Timer | None = None
        self._state, self._disk = Lock(), Lock()  # a key waits for the first, never for the disk
        self._reported: set[str] = set()
        self._is_tidy = False
        self.report: Callable[[str], object] = _ignore

    @property
    def unwritten(self) -> bool:
        """True if something that was typed is not on the disk."""
        with self._state:
            return any(draft is not None for draft, _ in self._waiting.values())

    def offered(self, field: str) -> list[Draft]:
        """Return the drafts of `field`, the newest first; reads the disk, so it is called in a thread."""
        prefix = _prefix(field)
        earlier = _prefix(f"{self._workspace}\0{field}")  # as versions named them that did not follow a move
        with self._disk:
            drafts = {draft.name: draft for draft in self._read(prefix, earlier) if draft.field == field}
            with self._state:
                waiting = {name: each for name, each in self._waiting.items() if name.startswith(prefix)}
        for name, (draft, replaced) in waiting.items():
            for old in (*replaced, name):
                drafts.pop(old, None)
            if draft is not None:
                drafts[name] = draft
        return sorted(drafts.values(), key=lambda draft: draft.time, reverse=True)

    def edit(self, field: str, continued: Sequence[Draft] = ()) -> Drafting:
        """Begin to keep what is typed into `field`, in place of the drafts that are `continued`."""
        name = f"{_prefix(field)}{secrets.token_hex(8)}.json"
        return Drafting(self, Draft(self._workspace, field, {}, 0.0, name), continued)

    def put(self, name: str, draft: Draft | None, replaced: Sequence[str]) -> None:
        """Write `draft` to its file soon, or remove it, and remove those that it replaces."""
        with self._state:
            self._waiting[name] = draft, replaced
            if self._timer is None:
                self._timer = Timer(DELAY_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> bool:
        """Write now what waits; returns True if everything is on the disk."""
        is_written = True
        with self._disk:
            with self._state:
                self._timer = None
                waiting = dict(self._waiting)
            for name, (draft, replaced) in waiting.items():
                try:
                    self._settle(name, draft, replaced)
                except (OSError, FileError) as error:
                    is_written = False
                    self._tell(self._refusal(error, is_draft=draft is not None))
                    continue
                with self._state:
                    if self._waiting[name] is waiting[name]:  # nothing was typed meanwhile
                        del self._waiting[name]
        return is_written

    def close(self) -> None:
        """Write what waits before the app ends, unless the disk does not answer."""
        if self._waiting or self._timer is not None:
            last = Thread(target=self.flush, name="drafts", daemon=True)
            last.start()
            last.join(CLOSE_SECONDS)

    @property
    def _home(self) -> Path:
        """The directory of the drafts; raises FileError if the person has no home directory."""
        if not self._directory.is_absolute():
            raise FileError("drafts cannot be kept: set HOME or XDG_STATE_HOME to a directory of yours")
        return self._directory

    def _is_of_here(self, draft: Draft) -> bool:
        """Return whether a draft was typed in this workspace, which may have been moved since."""
        if draft.workspace == self._workspace:
            return True
        moved = draft.workspace_id and draft.workspace_id == self._identity()
        return bool(moved) and not Workspace(Path(draft.workspace)).store_path.exists()  # else this is a copy

    def _settle(self, name: str, draft: Draft | None, replaced: Sequence[str]) -> None:
        directory = self._home
        if draft is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._tidy(directory)
            draft = msgspec.structs.replace(draft, workspace_id=self._identity())
            write_atomically(directory / name, _encode(draft), mode=0o600)
        for old in replaced if draft is not None else (*replaced, name):
            with suppress(FileNotFoundError, NotADirectoryError):
                (directory / old).unlink()

    def _read(self, *prefixes: str) -> Iterable[Draft]:
        try:
            directory = self._home
            names = [each for each in os.listdir(directory) if each.startswith(prefixes) and NAME.fullmatch(each)]
        except FileNotFoundError:
            return
        except (OSError, FileError) as error:
            self._tell(f"drafts cannot be read: {reason_of(error)}" if isinstance(error, OSError) else error.message)
            return
        for name in names:
            try:
                draft = _decoder.decode(read_plain(directory / name, max_bytes=MAX_BYTES))
                if self._is_of_here(draft):
                    yield msgspec.structs.replace(draft, name=name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                reason = reason_of(error) if isinstance(error, OSError) else error
                self._tell(f"the draft {directory / name} cannot be read ({reason}): delete it")

    def _tidy(self, directory: Path) -> None:
        """Delete, once, drafts that are too old or too many, and what killed processes left."""
        if self._is_tidy:
            return
        self._is_tidy = True
        newest = sorted(_files_in(directory), reverse=True)
        drafts = [(changed, path) for changed, path in newest if NAME.fullmatch(path.name)]
        temporary = [(changed, path) for changed, path in newest if TEMPORARY.fullmatch(path.name)]
        now = min([time.time(), *(changed for changed, _ in drafts[:1])])  # the clock may be far ahead today
        old = {path for changed, path in drafts if now - changed > MAX_AGE_SECONDS}
        old |= {path for changed, path in temporary if now - changed > STALE_SECONDS}
        for path in old | {path for _, path in drafts[MAX_DRAFTS:]}:
            with suppress(OSError):
                path.unlink()

    def _refusal(self, error: OSError | FileError, *, is_draft: bool) -> str:
        if isinstance(error, FileError):
            return error.message
        what = "what you type cannot be kept as a draft" if is_draft else "a draft cannot be removed"
        return f"{what} in {self._directory}: {reason_of(error)}"

    def _tell(self, sentence: str) -> None:
        if sentence not in self._reported:
            self._reported.add(sentence)
            self.report(sentence)


class Drafting:
    """Keeps what is typed into one field or form, under a file of its own, in place of the drafts `continued`."""

    def __init__(self, drafts: Drafts, empty: Draft, continued: Sequence[Draft]) -> None:
        self.continued = continued
        self._drafts = drafts
        self._empty = empty
        self._replaced = [draft.name for draft in continued]
        self._texts: Mapping[str, str] = continued[0].texts if continued else {}

    def keep(self, texts: Mapping[str, str]) -> None:
        """Keep `texts` in place of those before; without any, nothing is kept."""
        if texts == self._texts:
            return
        self._texts = dict(texts)
        draft = msgspec.structs.replace(self._empty, texts=self._texts, time=time.time())
        self._drafts.put(draft.name, draft if texts else None, self._replaced)

    def drop(self) -> None:
        """Remove the draft: what was typed is saved, or nothing is left of it."""
        self.keep({})


def drafts_path() -> Path:
    """Return the directory of the person's drafts; it is relative if the person has no home directory."""
    return user_state_path("loratui") / "drafts"


def _prefix(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:24] + "-"


def _files_in(directory: Path) -> list[tuple[float, Path]]:
    """Return when each plain file of a directory was changed, and its path."""
    with suppress(OSError):
        entries = [(entry.stat(follow_symlinks=False), Path(entry.path)) for entry in os.scandir(directory)]
        return [(status.st_mtime, path) for status, path in entries if stat.S_ISREG(status.st_mode)]
    return []


def _encode(draft: Draft) -> bytes:
    texts = {name: redact(text).encode(errors="replace").decode() for name, text in draft.texts.items()}
    data = msgspec.json.encode(msgspec.structs.replace(draft, texts=texts, name=""))
    if len(data) > MAX_BYTES:
        raise FileError(
            f"the {draft.field} is larger than {MAX_BYTES // 1024**2} MiB and cannot be kept as a draft: shorten it"
        )
    return data


def _ignore(sentence: str) -> None:
    pass
