"""Write files whole or not at all, and read only plain files of a sane size."""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias

import msgspec

from engine.files.ownership import FILE_MODE, take_over

Buffer: TypeAlias = bytes | memoryview | msgspec.Raw
MAX_BYTES = 16 * 1024 * 1024  # far more than any spec, preset or manifest needs
WRITE_BYTES = 1024 * 1024
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp")


class NoPlainFile(ValueError):
    """A directory, link, pipe or device in a file's place, or a file that is too large."""


def open_plain(path: Path, *, follow_link: bool = False) -> BufferedReader:
    """Open a file for reading, without waiting for a pipe or device in its place.

    Raises:
        NoPlainFile: a directory, pipe, socket or device; or a link, which may lead anywhere, without `follow_link`.
        OSError: it cannot be opened.
    """
    if not follow_link and path.is_symlink():
        raise NoPlainFile("it is a link")
    _check_plain(os.stat(path))
    no_link = 0 if follow_link else os.O_NOFOLLOW
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | no_link), "rb")
    try:
        _check_plain(os.fstat(stream.fileno()))
    except NoPlainFile:
        stream.close()
        raise
    return stream


def open_nonblocking(path: str, flags: int) -> int:
    """Open a file as `os.open` does, at once even if it is a pipe that nobody writes to; an `opener` for `open`."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_plain(path: Path, *, max_bytes: int = MAX_BYTES, follow_link: bool = False) -> bytes:
    """Return the content of a file; raises as `open_plain`, and NoPlainFile for more than `max_bytes`."""
    with open_plain(path, follow_link=follow_link) as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise NoPlainFile(f"it has more than {max_bytes // 1024**2} MiB")
    return data


def _check_plain(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NoPlainFile("it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise NoPlainFile("it is not a file but a pipe, socket or device")


def temporary_beside(path: Path) -> Path:
    """Return an unused name beside `path`; `sweep` removes what a killed process leaves under such a name."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def sweep(path: Path, changed_before: float = math.inf) -> None:
    """Remove temporary files that killed writers of `path` left beside it.

    Args:
        changed_before: in seconds of the file system's clock, which may differ from this machine's. Without it all are
            removed, which is for a caller that keeps other writers out.
    """
    for entry in os.scandir(path.parent):
        match = TEMPORARY.fullmatch(entry.name)
        if match is not None and match["name"] == path.name and entry.is_file(follow_symlinks=False):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < changed_before:
                    os.unlink(entry.path)


@contextmanager
def temporary_file(path: Path, pieces: Iterable[Buffer], *, mode: int = FILE_MODE) -> Iterator[Path]:
    """Write `pieces` to a temporary file beside `path` and force it to disk, for the caller to rename.

    It has the owner, group, mode and access control list of `path`, or nothing is written.

    The file is removed if anything fails, fsync included: nobody knows what the kernel kept of it then.
    """
    temporary = temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=WRITE_BYTES) as file:
            take_over(descriptor, path)
            file.writelines(pieces)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int = FILE_MODE) -> None:
    """Put `data` at `path` so that a reader, even after a crash, sees the old content or the new, never a part.

    Raises:
        OSError: the disk refuses; `path` is unchanged unless only syncing its directory failed.
    """
    with temporary_file(path, [data], mode=mode) as temporary:
        os.replace(temporary, path)
    sync(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name in its directory: by a hard link, or by a copy where links are not supported.

    Raises:
        FileExistsError: the name is in use.
        OSError: the disk refuses.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        with temporary_file(source, [source.read_bytes()]) as temporary:
            shutil.copystat(source, temporary)
            os.replace(temporary, target)


def sync(path: Path) -> None:
    """Force a file, or the renames in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` whole, or not at all if the disk refuses.

    An existing file is replaced and keeps owner and permissions; of a link, the target is replaced. What is not a file,
    such as `/dev/stdout` or a pipe, is written to.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    write_atomically(path, content)
