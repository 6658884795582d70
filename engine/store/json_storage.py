"""TinyDB's JSON file, replaced whole and never overwritten in place, with backups of what was replaced.

Beside `experiments.json` lie `.bak1`, what it was before the last change, and `.bak2` and `.bak3`, which give way once
the next newer is an hour, a day newer. A backup is a hard link to the file that is replaced: it costs no writing and is
never incomplete; on file systems without links it is a copy. Only a file that was read whole becomes a backup.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tinydb.storages import Storage

from engine.errors import StoreError, StoreMissing, reason_of
from engine.files.atomic import (
    link_or_copy,
    sweep,
    sync,
    temporary_beside,
    temporary_file,
)
from engine.store.json_format import Tables, as_record, read_tables, render

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
SETTLE_SECONDS, SETTLE_LIMIT_SECONDS = 1.0, 5.0
Signature = tuple[int, int, int]


class AtomicJSONStorage(Storage):
    """TinyDB's storage over one file. A parse stays cached while the file's (inode, size, mtime) are the same.

    Reading needs no lock; every method that writes is for the holder of the store's lock.

    Attributes:
        path: the file, or a link to it.
        unsure: why the last write may be lost when the power fails; "" if it is safe on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unsure = ""
        self._parsed: tuple[Signature, Tables] | None = None

    @property
    def target(self) -> Path:
        """The path of the file behind any link: replacements and backups go beside it, and a link stays a link."""
        try:
            return Path(os.path.realpath(self.path, strict=True))
        except FileNotFoundError:
            return Path(os.path.realpath(self.path))
        except OSError as error:  # must not look like a missing link
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error

    @property
    def backups(self) -> list[Path]:
        """The paths of the backups, newest first, whether they exist or not."""
        target = self.target
        return [target.with_name(f"{target.name}.bak{age}") for age in (1, 2, 3)]

    def signature(self) -> Signature | None:
        """Return a value that changes whenever the file does; None while the file does not exist."""
        try:
            return _signature(os.stat(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error

    def read(self) -> Tables:
        return self.read_signed()[1]

    def read_signed(self) -> tuple[Signature, Tables]:
        """Return the tables, and the signature of the file that they were read from."""
        signature = self.signature()
        if signature is None:
            raise StoreMissing(f"there is no {self.path.name} in {self.path.parent}")
        parsed = self._parsed  # which another thread may replace at any time
        if parsed is None or parsed[0] != signature:
            self._parsed = parsed = signature, read_tables(self.path)
        return parsed

    def write(
        self,
        data: Mapping[str, Mapping[str, Mapping[str, Any]]],
        aside: Path | None = None,
        before: Signature | None = None,
    ) -> None:
        """Replace the file. The old one becomes a backup, or is renamed to `aside`.

        Args:
            before: the signature of the file that `data` was made from; if it is None, that of the last read.

        Raises:
            StoreError: the disk refuses, or another program changed the file since it was read; it is then as it was.
        """
        tables = {name: {key: as_record(table[key]) for key in sorted(table, key=int)} for name, table in data.items()}
        target = self.target
        if before is None and self._parsed is not None:
            before = self._parsed[0]
        self._parsed = None
        try:
            with temporary_file(target, render(tables)) as temporary:
                now = time.time_ns()  # the kernel's own clock ticks too seldom to tell two quick writes apart
                os.utime(temporary, ns=(now, now))
                signature = _signature(os.stat(temporary))
                if aside is not None:
                    _set_aside(target, aside)
                elif before is not None and (signature_now := self.signature()) is not None:
                    if signature_now != before:
                        raise StoreError(f"{self.path} was changed by another program meanwhile: try again")
                    self._keep_backup(target)
                os.replace(temporary, target)
        except OSError as error:
            raise StoreError(f"{self.path} could not be written and is as before: {reason_of(error)}") from error
        self._parsed = signature, tables
        self._sync(target.parent)

    def _sync(self, directory: Path) -> None:
        """Force the new file's name to disk; a failure is not one of the write, as the new file is in its place."""
        try:
            sync(directory)
            self.unsure = ""
        except OSError as error:
            self.unsure = (
                f"{self.path} is written, but the disk does not confirm it ({reason_of(error)}), so that a power "
                f"failure may undo it: check the disk"
            )

    def _keep_backup(self, target: Path) -> None:
        newest, hour_old, day_old = self.backups
        if newest.exists() and newest.samefile(target):  # from a write that failed after this
            return
        temporary = temporary_beside(target)
        link_or_copy(target, temporary)
        try:
            for younger, older, seconds in ((hour_old, day_old, DAY_SECONDS), (newest, hour_old, HOUR_SECONDS)):
                with suppress(FileNotFoundError):
                    if _seconds_between(younger, older) >= seconds:
                        os.replace(younger, older)
            os.replace(temporary, newest)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def free_name(self, ending: str) -> Path:
        """Return a free name beside the file, with the time of day and `ending` in it."""
        target = self.target
        name = f"{target.name}.{time.strftime('%Y%m%d-%H%M%S')}"
        names = (f"{name}{f'-{count}' if count > 1 else ''}.{ending}" for count in itertools.count(1))
        return next(path for path in map(target.with_name, names) if not os.path.lexists(path))

    def settle(self) -> None:
        """Wait until the file has not changed for a moment: an editor or git may be writing it."""
        deadline = time.monotonic() + SETTLE_LIMIT_SECONDS
        while (signature := self.signature()) is not None and time.monotonic() < deadline:
            age = (_time_in(self.target.parent) - signature[2]) / 1e9
            if not 0 <= age < SETTLE_SECONDS:
                return
            time.sleep(SETTLE_SECONDS - age)

    def sweep(self) -> None:
        """Remove temporary files of killed writers."""
        with suppress(OSError):
            sweep(self.target)


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _time_in(directory: Path) -> int:
    """Return the time by the clock of a file system, such as that of another machine, in nanoseconds."""
    try:
        with TemporaryFile(dir=directory) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:  # the disk is full
        return time.time_ns()


def _set_aside(target: Path, aside: Path) -> None:
    """Give a file a second name, so that it is never absent from its place; other things are renamed."""
    if target.is_file():
        link_or_copy(target, aside)
    else:
        os.rename(target, aside)


def _seconds_between(younger: Path, older: Path) -> float:
    """Return the seconds between two backups; infinite if the older one is missing, or the clock was set back."""
    modified = younger.stat().st_mtime
    try:
        seconds = modified - older.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    return seconds if seconds >= 0 else float("inf")
