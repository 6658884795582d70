"""Open files to append to, each a file of its own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from engine.files.atomic import open_plain, temporary_file
from engine.files.ownership import open_writable

READ_BYTES = 1024 * 1024


def open_to_append(path: Path) -> int:
    """Open a file to read and append to, as `open_writable` does, and return the descriptor.

    A file with a second name is replaced by a copy first: a workspace that was copied by hard links (`cp -al`), as
    some backups are, would otherwise write into the original.

    Raises:
        OSError: it cannot be opened or copied, or is a link, a pipe or a device.
    """
    if has_second_name(path):
        with open_plain(path) as file, temporary_file(path, _pieces(file)) as copy:
            os.replace(copy, path)
    descriptor = open_writable(path, os.O_RDWR | os.O_APPEND)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return descriptor


def has_second_name(path: Path) -> bool:
    """Return True for a file with more than one hard link."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink > 1


def _pieces(file: BufferedReader) -> Iterator[bytes]:
    while piece := file.read(READ_BYTES):
        yield piece
